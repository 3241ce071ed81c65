//! What came of the orders, beside what should have.

use super::follow::{Followed, Outcome};
use super::mix::Kind;
use crate::output::Row;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest time that is told exactly.
const LONGEST_US: u64 = 600_000_000;
/// Why the saga undid an order: its own words.
const CARD_DECLINED: &str = "card_declined";
const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
const OUT_OF_STOCK: &str = "out_of_stock";
const BY_CUSTOMER: &str = "cancelled by the customer";
/// Why the order service took none.
const NOT_AVAILABLE: &str = "not-available";

/// Ends as they come in.
pub struct Tally {
    /// Orders that ended in time.
    latency: Histogram<u64>,
    followed: Vec<Followed>,
    payments_may_fail: bool,
}

/// One kind's orders.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// What is special about them.
    pub kind: &'static str,
    /// How many were placed.
    pub placed: usize,
    /// Paid and sold.
    pub confirmed: usize,
    /// Undone.
    pub cancelled: usize,
    /// Not taken.
    pub refused: usize,
    /// The shop went away while they were being placed.
    pub unknown: usize,
    /// What should not be, and how often.
    pub unexpected: BTreeMap<String, usize>,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["orders", "placed", "confirmed", "cancelled", "refused", "unknown", "not as it should be"];

    fn cells(&self) -> Vec<String> {
        let unexpected = self.unexpected.iter().map(|(what, times)| format!("{times} × {what}")).collect::<Vec<_>>();
        let mut cells = vec![self.kind.to_owned()];
        cells.extend([self.placed, self.confirmed, self.cancelled, self.refused, self.unknown].map(|n| n.to_string()));
        cells.push(if unexpected.is_empty() { "–".to_owned() } else { unexpected.join(", ") });
        cells
    }
}

impl Tally {
    /// Nothing yet. Where payments may fail by chance, a declined good order is as it should be.
    pub fn new(payments_may_fail: bool) -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are allowed");
        Self { latency, followed: Vec::new(), payments_may_fail }
    }

    /// Takes an order's end in.
    pub fn add(&mut self, followed: Followed) {
        if matches!(followed.outcome, Outcome::Confirmed | Outcome::Cancelled(_)) {
            self.latency.saturating_record(u64::try_from(followed.took.as_micros()).unwrap_or(u64::MAX));
        }
        self.followed.push(followed);
    }

    /// All orders so far.
    pub fn followed(&self) -> &[Followed] {
        &self.followed
    }

    /// Orders that are over, one way or another.
    pub fn over(&self) -> usize {
        self.followed.len()
    }

    /// How many ended so.
    pub fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.followed.iter().filter(|followed| which(&followed.outcome)).count()
    }

    /// Half of the orders ended within this.
    pub fn p50(&self) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(0.5))
    }

    /// A line for each kind that was placed. Of the last items as many must be sold as there were.
    pub fn lines(&self, last_items: u32) -> Vec<Line> {
        Kind::all().map(|kind| self.line(kind, last_items)).filter(|line| line.placed > 0).collect()
    }

    fn line(&self, kind: Kind, last_items: u32) -> Line {
        let mut line = Line { kind: kind.title(), ..Line::default() };
        for followed in self.followed.iter().filter(|followed| followed.kind == kind) {
            line.placed += 1;
            match &followed.outcome {
                Outcome::Confirmed => line.confirmed += 1,
                Outcome::Cancelled(_) => line.cancelled += 1,
                Outcome::Refused(_) => line.refused += 1,
                Outcome::Unknown => line.unknown += 1,
                Outcome::Unended | Outcome::Failed(_) => {}
            }
            if let Some(what) = self.unexpected(kind, &followed.outcome) {
                *line.unexpected.entry(what).or_default() += 1;
            }
        }
        // One whose fate is not known may have taken an item.
        let sold = line.confirmed..=line.confirmed + line.unknown;
        let due = line.placed.min(last_items as usize);
        let may_fail = self.payments_may_fail && line.confirmed < due;
        if kind == Kind::LastItems && line.unexpected.is_empty() && !sold.contains(&due) && !may_fail {
            line.unexpected.insert(format!("{} sold of {last_items}", line.confirmed), 1);
        }
        line
    }

    /// What is wrong with this end of such an order, if anything.
    fn unexpected(&self, kind: Kind, outcome: &Outcome) -> Option<String> {
        use Outcome::{Cancelled, Confirmed, Failed, Refused, Unended, Unknown};
        let fine = match (kind, outcome) {
            (_, Unended | Failed(_)) => false,
            // The shop was away; that is not the order's fault.
            (_, Unknown) => true,
            (Kind::CardDeclined, outcome) => is_cancelled(outcome, CARD_DECLINED),
            (Kind::InsufficientFunds, outcome) => is_cancelled(outcome, INSUFFICIENT_FUNDS),
            (_, Cancelled(reason)) if self.payments_may_fail && reason.contains(CARD_DECLINED) => true,
            (Kind::OneLine | Kind::SeveralLines | Kind::HotProduct, outcome) => *outcome == Confirmed,
            (Kind::OutOfStock, outcome) => is_out_of_stock(outcome),
            (Kind::LastItems, outcome) => *outcome == Confirmed || is_out_of_stock(outcome),
            (Kind::CancelledAtOnce | Kind::CancelledLater, outcome) => is_cancelled(outcome, BY_CUSTOMER),
        };
        let what = match outcome {
            _ if fine => return None,
            Confirmed => "confirmed".to_owned(),
            Cancelled(reason) => format!("cancelled: {reason}"),
            Refused(kind) => format!("refused: {kind}"),
            Unknown => "unknown".to_owned(),
            Unended => "not ended in time".to_owned(),
            Failed(why) => why.clone(),
        };
        Some(what)
    }
}

fn is_cancelled(outcome: &Outcome, reason: &str) -> bool {
    matches!(outcome, Outcome::Cancelled(why) if why.contains(reason))
}

/// Refused at once, or undone by the saga because somebody else was faster.
fn is_out_of_stock(outcome: &Outcome) -> bool {
    is_cancelled(outcome, OUT_OF_STOCK) || matches!(outcome, Outcome::Refused(kind) if kind == NOT_AVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ends: &[(Kind, Outcome)]) -> Tally {
        let mut tally = Tally::new(false);
        for (n, (kind, outcome)) in ends.iter().cloned().enumerate() {
            tally.add(Followed { kind, n, id: None, outcome, took: Duration::from_millis(20) });
        }
        tally
    }

    #[test]
    fn each_kind_has_its_own_right_end() {
        let cancelled = |reason: &str| Outcome::Cancelled(reason.to_owned());
        let right = [
            (Kind::OneLine, Outcome::Confirmed),
            (Kind::CardDeclined, cancelled("card_declined")),
            (Kind::InsufficientFunds, cancelled("insufficient_funds")),
            (Kind::OutOfStock, Outcome::Refused("not-available".to_owned())),
            (Kind::CancelledLater, cancelled("cancelled by the customer")),
            (Kind::HotProduct, Outcome::Unknown),
        ];
        assert!(tally(&right).lines(1).iter().all(|line| line.unexpected.is_empty()));
        let wrong = [
            (Kind::OneLine, cancelled("card_declined")),
            (Kind::CardDeclined, Outcome::Confirmed),
            (Kind::CancelledAtOnce, Outcome::Confirmed),
            (Kind::SeveralLines, Outcome::Unended),
        ];
        assert!(tally(&wrong).lines(1).iter().all(|line| line.unexpected.len() == 1));
    }

    #[test]
    fn as_many_of_the_last_items_are_sold_as_there_were() {
        let gone = Outcome::Cancelled("out_of_stock".to_owned());
        let ends = |sold: usize| {
            let sold = std::iter::repeat_n((Kind::LastItems, Outcome::Confirmed), sold);
            tally(&sold.chain([(Kind::LastItems, gone.clone()), (Kind::LastItems, gone.clone())]).collect::<Vec<_>>())
        };
        assert!(ends(2).lines(2)[0].unexpected.is_empty());
        assert_eq!(ends(3).lines(2)[0].unexpected.len(), 1, "one too many");
        assert_eq!(ends(1).lines(2)[0].unexpected.len(), 1, "one was left");
    }
}
