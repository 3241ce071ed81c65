//! What people do: chosen by the seed alone.

use domain::order::OrderLine;
use kernel::{Currency, Money, ProductId, Quantity};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ADJECTIVES: [&str; 12] =
    ["Blue", "Green", "Quiet", "Heavy", "Light", "Folding", "Round", "Long", "Small", "Bright", "Warm", "Plain"];
const THINGS: [(&str, &str); 10] = [
    ("lamp", "Light"),
    ("desk", "Furniture"),
    ("chair", "Furniture"),
    ("shelf", "Furniture"),
    ("kettle", "Kitchen"),
    ("pan", "Kitchen"),
    ("knife", "Kitchen"),
    ("blanket", "Textiles"),
    ("towel", "Textiles"),
    ("clock", "Decoration"),
];

/// What comes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing is in its way.
    Confirmed,
    /// The card is declined.
    Declined,
    /// The account is empty.
    Insufficient,
    /// It wants what there is none of.
    OutOfStock,
    /// The customer cancels at once, after so many microseconds.
    CancelledAtOnce(i64),
    /// The customer cancels what was confirmed, after so many microseconds.
    CancelledLater(i64),
}

impl Fate {
    /// What is to be charged.
    pub(super) fn token(self) -> &'static str {
        match self {
            Self::Declined => "tok_declined",
            Self::Insufficient => "tok_insufficient_funds",
            _ => "tok_visa",
        }
    }
}

/// What is sold.
pub(super) struct Product {
    pub(super) name: String,
    pub(super) category: &'static str,
    pub(super) price: Money,
}

/// Products that there is plenty of. One more there is none of.
pub(super) const PRODUCTS: usize = ADJECTIVES.len() * THINGS.len();

/// Draws.
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// The n-th product.
    pub(super) fn product(&mut self, n: usize) -> Product {
        let (thing, category) = THINGS[n % THINGS.len()];
        let name = format!("{} {thing}", ADJECTIVES[n / THINGS.len() % ADJECTIVES.len()]);
        Product { name, category, price: Money::new(self.0.random_range(500..50_000), Currency::EUR) }
    }

    /// What comes of the next order.
    pub(super) fn fate(&mut self) -> Fate {
        // Of a thousand.
        match self.0.random_range(0..1_000_u32) {
            0..30 => Fate::Declined,
            30..45 => Fate::Insufficient,
            45..50 => Fate::OutOfStock,
            50..70 => Fate::CancelledAtOnce(self.0.random_range(1_000..15_000)),
            70..100 => Fate::CancelledLater(self.0.random_range(60_000_000..3_600_000_000)),
            _ => Fate::Confirmed,
        }
    }

    /// One of so many.
    pub(super) fn one_of(&mut self, many: usize) -> usize {
        self.0.random_range(0..many.max(1))
    }

    /// So many microseconds: up to twice the usual.
    pub(super) fn about(&mut self, usual: i64) -> i64 {
        self.0.random_range(0..=2 * usual.max(1))
    }

    /// One line mostly, three at most, of different products; some are bought more than others.
    pub(super) fn lines(&mut self, prices: &[(ProductId, Money)]) -> Vec<OrderLine> {
        let count = match self.0.random_range(0..10) {
            0 => 3,
            1..3 => 2,
            _ => 1,
        };
        let mut lines: Vec<OrderLine> = Vec::with_capacity(count);
        while lines.len() < count.min(prices.len()) {
            let (one, other) = (self.one_of(prices.len()), self.one_of(prices.len()));
            let (product_id, unit_price) = prices[one.min(other)];
            if lines.iter().all(|line| line.product_id != product_id) {
                let quantity = Quantity::try_from(self.0.random_range(1..=3)).expect("one to three");
                lines.push(OrderLine { product_id, quantity, unit_price });
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_comes_about_and_most_orders_are_confirmed() {
        let mut dice = Dice::new(1);
        let fates: Vec<Fate> = (0..10_000).map(|_| dice.fate()).collect();
        let count = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count();
        assert!((8_800..9_200).contains(&count(|fate| *fate == Fate::Confirmed)));
        assert!(count(|fate| *fate == Fate::OutOfStock) > 10);
        assert!(count(|fate| matches!(fate, Fate::CancelledAtOnce(_))) > 100);
        assert!(count(|fate| matches!(fate, Fate::CancelledLater(_))) > 200);
        assert_eq!(Dice::new(1).fate(), fates[0]);
    }
}
