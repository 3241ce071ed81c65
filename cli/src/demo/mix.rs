//! Which orders are placed: chosen by the seed alone.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// Products that there is plenty of.
pub const PLENTIFUL: usize = 12;
/// The most that is ordered of one in one line.
const QUANTITY_MAX: u32 = 3;
/// The most lines of an order.
const LINES_MAX: usize = 5;

/// What is special about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One line, and nothing in its way.
    OneLine,
    /// Several lines.
    SeveralLines,
    /// Of the product that everybody wants.
    HotProduct,
    /// The card is declined.
    CardDeclined,
    /// The account is empty.
    InsufficientFunds,
    /// More than there is.
    OutOfStock,
    /// Beside something else, one of the last few of a product that several want at the same time.
    LastItems,
    /// The customer cancels at once.
    CancelledAtOnce,
    /// The customer cancels what was confirmed.
    CancelledLater,
}

impl Kind {
    /// Every kind, with its share of a mix.
    const SHARES: [(Self, u32); 9] = [
        (Self::OneLine, 30),
        (Self::SeveralLines, 18),
        (Self::HotProduct, 14),
        (Self::CardDeclined, 8),
        (Self::InsufficientFunds, 5),
        (Self::OutOfStock, 5),
        (Self::LastItems, 6),
        (Self::CancelledAtOnce, 7),
        (Self::CancelledLater, 7),
    ];

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::SHARES.into_iter().map(|(kind, _)| kind)
    }

    /// What a person calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::OneLine => "one line",
            Self::SeveralLines => "several lines",
            Self::HotProduct => "hot product",
            Self::CardDeclined => "card declined",
            Self::InsufficientFunds => "insufficient funds",
            Self::OutOfStock => "more than there is",
            Self::LastItems => "the last items",
            Self::CancelledAtOnce => "cancelled at once",
            Self::CancelledLater => "cancelled once confirmed",
        }
    }

    /// The provider's token that it is paid with.
    pub fn payment_method(self) -> &'static str {
        match self {
            Self::CardDeclined => "tok_declined",
            Self::InsufficientFunds => "tok_insufficient_funds",
            _ => "tok_ok",
        }
    }
}

/// A product of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// One of [`PLENTIFUL`].
    Plenty(usize),
    /// Everybody wants it.
    Hot,
    /// There are fewer than anybody orders.
    TooFew,
    /// There are a few, and more who want one.
    Last,
}

/// How many there are of [`Item::TooFew`].
pub const TOO_FEW: u32 = 2;

/// An order to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What is special about it.
    pub kind: Kind,
    /// Its lines.
    pub lines: Vec<(Item, u32)>,
}

/// So many orders. With enough of them, every kind occurs; those after the last items stand together, so that they are
/// placed at the same time.
pub fn mix(orders: usize, seed: u64) -> Vec<Planned> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kinds: Vec<Kind> = Kind::all().take(orders).collect();
    while kinds.len() < orders {
        kinds.push(drawn(&mut rng));
    }
    kinds.shuffle(&mut rng);
    let first = kinds.iter().position(|kind| *kind == Kind::LastItems).unwrap_or_default();
    let (last, mut kinds): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| *kind == Kind::LastItems);
    let at = first.min(kinds.len());
    kinds.splice(at..at, last);
    kinds.into_iter().map(|kind| Planned { kind, lines: lines(kind, &mut rng) }).collect()
}

/// How many of the last items there are: fewer than are wanted, where more than one order wants one.
pub fn last_items(plan: &[Planned]) -> u32 {
    let wanted = plan.iter().filter(|planned| planned.kind == Kind::LastItems).count();
    u32::try_from(wanted / 3).unwrap_or(u32::MAX).max(1)
}

fn drawn(rng: &mut StdRng) -> Kind {
    let all: u32 = Kind::SHARES.iter().map(|(_, share)| share).sum();
    let mut left = rng.random_range(0..all);
    for (kind, share) in Kind::SHARES {
        match left.checked_sub(share) {
            Some(rest) => left = rest,
            None => return kind,
        }
    }
    Kind::OneLine
}

fn lines(kind: Kind, rng: &mut StdRng) -> Vec<(Item, u32)> {
    match kind {
        Kind::HotProduct => vec![(Item::Hot, 1)],
        Kind::OutOfStock => vec![(Item::TooFew, TOO_FEW + rng.random_range(1..=10))],
        Kind::LastItems => vec![plenty(rng, 1)[0], (Item::Last, 1)],
        Kind::SeveralLines => {
            let lines = rng.random_range(2..=LINES_MAX);
            plenty(rng, lines)
        }
        // So that something of several products has to be undone.
        Kind::CardDeclined | Kind::CancelledLater => {
            let lines = rng.random_range(1..=3);
            plenty(rng, lines)
        }
        Kind::OneLine | Kind::InsufficientFunds | Kind::CancelledAtOnce => plenty(rng, 1),
    }
}

/// Lines of so many different products.
fn plenty(rng: &mut StdRng, lines: usize) -> Vec<(Item, u32)> {
    let mut products: Vec<usize> = (0..PLENTIFUL).collect();
    products.shuffle(rng);
    products.into_iter().take(lines).map(|n| (Item::Plenty(n), rng.random_range(1..=QUANTITY_MAX))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_places_the_same_mix_and_another_one_another() {
        assert_eq!(mix(300, 7), mix(300, 7));
        assert_ne!(mix(300, 7), mix(300, 8));
    }

    #[test]
    fn every_kind_occurs_and_there_are_as_many_as_asked() {
        for orders in [1, 2, 9, 50, 1_000] {
            let plan = mix(orders, 3);
            assert_eq!(plan.len(), orders);
            let kinds: std::collections::HashSet<_> = plan.iter().map(|planned| planned.kind).collect();
            assert_eq!(kinds.len(), orders.min(Kind::SHARES.len()), "{orders} orders");
        }
    }

    #[test]
    fn those_after_the_last_items_stand_together_and_are_too_many() {
        let plan = mix(300, 7);
        let places: Vec<usize> = (0..300).filter(|n| plan[*n].kind == Kind::LastItems).collect();
        assert_eq!(places[places.len() - 1] - places[0] + 1, places.len());
        assert!((last_items(&plan) as usize) < places.len());
    }

    #[test]
    fn no_order_has_the_same_product_twice() {
        for planned in mix(500, 1) {
            let items: std::collections::HashSet<_> = planned.lines.iter().map(|(item, _)| *item).collect();
            assert_eq!(items.len(), planned.lines.len(), "{planned:?}");
        }
    }
}
