//! The numbers that tell how a shop is.

use domain::order::{Order, OrderStatus};
use domain::payment::{Payment, Stage};
use domain::product::Product;
use domain::stock::Stock;
use kernel::{Currency, Money};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Sums are wider than what is summed up: they cannot overflow.
type Number = i128;

/// The order in which they are told, and the currency of those that are money.
type Key = (usize, Option<Currency>);

/// What there is to tell, always in this order. Those without a currency are told also when they are 0.
const NAMES: [(&str, &str); 19] = [
    ("orders", "placed"),
    ("orders", "pending"),
    ("orders", "confirmed"),
    ("orders", "cancelled"),
    ("orders", "worth of those pending"),
    ("orders", "worth of those confirmed"),
    ("stock", "products in the catalogue"),
    ("stock", "available"),
    ("stock", "reserved"),
    ("stock", "sold"),
    ("money", "payments in flight"),
    ("money", "payments captured"),
    ("money", "payments declined or voided"),
    ("money", "refunds on their way"),
    ("money", "refunds refused"),
    ("money", "refunds paid"),
    ("money", "captured"),
    ("money", "refunded"),
    ("money", "kept"),
];

/// Which of [`NAMES`] are amounts of money.
fn is_money(name: usize) -> bool {
    matches!(name, 4 | 5 | 16..)
}

/// The numbers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figures(BTreeMap<Key, Number>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Figure {
    /// orders, stock, money.
    pub(crate) of: &'static str,
    /// Of what.
    pub(crate) what: &'static str,
    /// How many, or how much.
    pub(crate) amount: Amount,
}

/// A number, or an amount of money with its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Amount {
    Count(i64),
    Money(String),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(number) => number.fmt(f),
            Self::Money(text) => text.fmt(f),
        }
    }
}

/// One of them at two moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(super) of: &'static str,
    pub(super) what: &'static str,
    pub(super) before: Amount,
    pub(super) after: Amount,
    pub(super) change: Amount,
}

impl Figures {
    /// Of an empty shop.
    pub(crate) fn new() -> Self {
        Self((0..NAMES.len()).filter(|name| !is_money(*name)).map(|name| ((name, None), 0)).collect())
    }

    /// Adds another part of the shop.
    pub(super) fn add(&mut self, other: Self) {
        for (key, number) in other.0 {
            *self.0.entry(key).or_default() += number;
        }
    }

    fn count(&mut self, name: usize, number: i64) {
        *self.0.entry((name, None)).or_default() += Number::from(number);
    }

    fn sum(&mut self, name: usize, amount: Money) {
        *self.0.entry((name, Some(amount.currency))).or_default() += Number::from(amount.minor);
    }

    pub(super) fn order(&mut self, order: &Order) {
        let Order::Placed(order) = order else { return };
        self.count(0, 1);
        match order.status {
            OrderStatus::Pending => {
                self.count(1, 1);
                self.sum(4, order.total);
            }
            OrderStatus::Confirmed => {
                self.count(2, 1);
                self.sum(5, order.total);
            }
            OrderStatus::Cancelled => self.count(3, 1),
        }
    }

    pub(super) fn product(&mut self, product: &Product) {
        self.count(6, i64::from(matches!(product, Product::Listed(_))));
    }

    pub(super) fn stock(&mut self, stock: &Stock) {
        self.count(7, stock.available);
        self.count(8, stock.reserved);
        self.count(9, stock.sold);
    }

    pub(super) fn payment(&mut self, payment: &Payment) {
        let (charge, stage) = match payment {
            Payment::Unasked => return,
            Payment::Voided { .. } => return self.count(12, 1),
            Payment::Asked { charge, stage } => (charge, stage),
        };
        match stage {
            Stage::InFlight { .. } => return self.count(10, 1),
            Stage::Declined | Stage::Void => return self.count(12, 1),
            Stage::Captured { .. } => {}
            Stage::Refunding { .. } => self.count(13, 1),
            Stage::RefundFailed { .. } => self.count(14, 1),
            Stage::Refunded { .. } => self.count(15, 1),
        }
        self.count(11, 1);
        self.sum(16, charge.amount);
        let nothing = Money::zero(charge.amount.currency);
        let is_refunded = matches!(stage, Stage::Refunded { .. });
        self.sum(17, if is_refunded { charge.amount } else { nothing });
        self.sum(18, if is_refunded { nothing } else { charge.amount });
    }

    /// A line for each.
    pub(super) fn lines(&self) -> Vec<Figure> {
        let line = |(&(name, currency), number): (&Key, &Number)| {
            let (of, what) = NAMES[name];
            Figure { of, what, amount: amount(*number, currency) }
        };
        self.0.iter().map(line).collect()
    }

    /// A line for each that differs.
    pub(super) fn compared(&self, after: &Self) -> Vec<Difference> {
        let mut keys: Vec<Key> = self.0.keys().chain(after.0.keys()).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let number = |figures: &Self, key: &Key| figures.0.get(key).copied().unwrap_or_default();
        let lines = keys.into_iter().map(|key| (key, number(self, &key), number(after, &key)));
        let lines = lines.filter(|(_, before, after)| before != after);
        let line = |((name, currency), before, after): (Key, Number, Number)| {
            let (of, what) = NAMES[name];
            let change = amount(after - before, currency);
            Difference { of, what, before: amount(before, currency), after: amount(after, currency), change }
        };
        lines.map(line).collect()
    }
}

fn amount(number: Number, currency: Option<Currency>) -> Amount {
    // Beyond 64 bits there are no shops.
    let number = i64::try_from(number).unwrap_or(if number > 0 { i64::MAX } else { i64::MIN });
    match currency {
        None => Amount::Count(number),
        Some(currency) => Amount::Money(Money::new(number, currency).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_shop_has_nothing_of_everything_and_no_money() {
        let lines = Figures::new().lines();
        assert_eq!(lines.len(), 14);
        assert!(lines.iter().all(|line| line.amount == Amount::Count(0)));
    }

    #[test]
    fn only_what_differs_is_compared() {
        let (before, mut after) = (Figures::new(), Figures::new());
        let mut stock = Stock::default();
        (stock.available, stock.initial) = (5, 5);
        after.stock(&stock);
        after.sum(16, Money::new(1_990, Currency::EUR));
        let lines = before.compared(&after);
        let told: Vec<_> = lines.iter().map(|line| (line.what, line.change.to_string())).collect();
        assert_eq!(told, [("available", "5".to_owned()), ("captured", "19.90 EUR".to_owned())]);
        assert_eq!(after.compared(&before)[0].change, Amount::Count(-5));
    }
}
