//! Payment providers: what one is asked and answers, and a bank that moves no money.
//!
//! * [`protocol`]: the JSON that the shop and a provider exchange. `docs/psp-protocol.md` is its description.
//! * [`signed`]: how both sides know that a call is the other's, is of now, and comes once.
//! * [`bank`]: the book, the test tokens and the bad manners that a provider for trying and testing has: the simulated
//!   one inside the payment service, and the one that `sagashop serve psp` runs.

pub mod bank;
pub mod protocol;
pub mod signed;
