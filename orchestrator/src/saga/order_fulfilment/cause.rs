//! Why a saga turned back, as one of a few words.

use super::{CANCELLED_BY_CUSTOMER, DONE_LATE, NOTHING_ORDERED, OPERATOR, PAYMENT_TIMED_OUT, RESERVATION_TIMED_OUT};

/// All words for it.
pub(crate) const CAUSES: &[&str] = &["refused", "timeout", "customer", "operator", "late", "impossible"];

/// The word for a compensation's reason. What is none of the saga's own is a service's refusal.
pub(crate) fn cause(reason: &str) -> &'static str {
    match reason {
        CANCELLED_BY_CUSTOMER => "customer",
        RESERVATION_TIMED_OUT | PAYMENT_TIMED_OUT => "timeout",
        NOTHING_ORDERED => "impossible",
        reason if reason.starts_with(OPERATOR) => "operator",
        reason if reason.ends_with(DONE_LATE) => "late",
        _ => "refused",
    }
}
