//! The capability to have effects.

/// Held by what is live: a running service, an operator who mends one, a benchmark that writes. Whatever leaves the process
/// and matters asks for it: publishing to the shop's topics, calling the payment provider, sending to customers, and a
/// store that can append.
///
/// History that is read again, be it into a read model, onto a topic for a new consumer or through another decider, holds
/// none, and there is no way to one from what it holds. Where one is made is listed in a test.
#[derive(Debug, Clone, Copy)]
pub struct Live(());

impl Live {
    /// For whoever has effects: `why` says what it is, where it is made.
    pub const fn because(why: &'static str) -> Self {
        let _ = why;
        Self(())
    }
}
