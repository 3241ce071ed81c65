//! The tests of stock.

use kernel::{Decide, fold};
use proptest::prelude::*;

use super::*;
use crate::testing::{at, every_command_in_every_state, given, history, id};

fn quantity(number: i64) -> Quantity {
    number.try_into().unwrap()
}

fn open(quantity: i64) -> Command {
    Command::Open { product_id: id(1), quantity }
}

fn reserve(order: u128, number: i64) -> Command {
    Command::Reserve { order_id: id(order), quantity: quantity(number), at: at() }
}

fn release(order: u128) -> Command {
    Command::Release { order_id: id(order) }
}

fn commit(order: u128) -> Command {
    Command::Commit { order_id: id(order) }
}

#[test]
fn every_command_does_what_it_must_in_every_state() {
    let restock = Command::Restock { quantity: quantity(5), at: at() };
    let adjust = Command::Adjust { to: 7, at: at() };
    let with = |more: &[Command]| [&[open(10)], more].concat();
    every_command_in_every_state::<Stock>(
        &[
            open(10),
            open(11),
            restock,
            adjust,
            reserve(1, 3),
            reserve(2, 9),
            release(1),
            commit(1),
            Command::Close,
            Command::Check,
        ],
        &[
            (
                "unknown",
                vec![],
                "stock_opened stock_opened !Unknown !Unknown
                 stock_rejected stock_rejected stock_released !NothingReserved stock_closed !Unknown",
            ),
            (
                "open",
                with(&[]),
                "- !AlreadyOpen stock_restocked stock_adjusted
                 stock_reserved stock_reserved stock_released !NothingReserved stock_closed -",
            ),
            (
                "held for order 1",
                with(&[reserve(1, 3)]),
                "- !AlreadyOpen stock_restocked -
                 - stock_rejected stock_released stock_committed stock_closed -",
            ),
            (
                "sold to order 1",
                with(&[reserve(1, 3), commit(1)]),
                "- !AlreadyOpen stock_restocked -
                 - stock_rejected stock_released - stock_closed -",
            ),
            (
                "closed while held for order 1",
                with(&[reserve(1, 3), Command::Close]),
                "!Closed !Closed !Closed !Closed
                 - stock_rejected stock_released stock_committed - !Closed",
            ),
        ],
    );
}

#[test]
fn a_rejection_says_why_and_how_many_there_are() {
    let rejected = |requested, available, reason| {
        let (order_id, requested) = (id(1), quantity(requested));
        [Event::StockRejected { order_id, requested, available, reason, at: at() }]
    };
    given::<Stock>([open(2)]).when(reserve(1, 3)).then(rejected(3, 2, Rejection::OutOfStock));
    given::<Stock>([]).when(reserve(1, 3)).then(rejected(3, 0, Rejection::UnknownProduct));
    given::<Stock>([open(9), Command::Close]).when(reserve(1, 3)).then(rejected(3, 0, Rejection::ProductDeleted));
}

#[test]
fn a_release_gives_back_what_was_held_or_sold_once() {
    let released =
        |quantity, was_sold, available| [Event::StockReleased { order_id: id(1), quantity, was_sold, available }];
    given::<Stock>([open(10), reserve(1, 3)]).when(release(1)).then(released(3, false, 10));
    given::<Stock>([open(10), reserve(1, 3), commit(1)]).when(release(1)).then(released(3, true, 10));
    given::<Stock>([open(10), reserve(1, 3), release(1)]).when(release(1)).then(released(0, false, 10));
    given::<Stock>([open(10), reserve(1, 3), release(1)]).when(commit(1)).then_refused(Error::NothingReserved(id(1)));
}

#[test]
fn the_last_one_is_held_for_one_order() {
    let asked = (1..=50).map(|order| reserve(order, 1));
    let events = history::<Stock>([open(1)].into_iter().chain(asked));
    let held = events.iter().filter(|event| matches!(event, Event::StockReserved { .. })).count();
    assert_eq!((held, events.len()), (1, 51));
}

#[test]
fn counts_are_bounded() {
    given::<Stock>([]).when(open(-1)).then_refused(Error::OutOfRange(-1));
    given::<Stock>([]).when(open(i64::MAX)).then_refused(Error::OutOfRange(i64::MAX));
    let full = given::<Stock>([open(AVAILABLE_MAX)]);
    full.when(Command::Restock { quantity: quantity(1), at: at() }).then_refused(Error::OutOfRange(AVAILABLE_MAX + 1));
    full.when(Command::Adjust { to: i64::MIN, at: at() }).then_refused(Error::OutOfRange(i64::MIN));
    let adjusted = Event::StockAdjusted { delta: 4 - AVAILABLE_MAX, available: 4, at: at() };
    full.when(Command::Adjust { to: 4, at: at() }).then([adjusted]);
    full.when(Command::Adjust { to: AVAILABLE_MAX, at: at() }).then_already_done();
}

#[test]
fn only_the_newest_sales_are_remembered() {
    let orders = SALES_MAX as u128 + 1;
    let one = quantity(1);
    let opened = Event::StockOpened { product_id: id(1), quantity: AVAILABLE_MAX };
    let sales = (1..=orders).flat_map(|order| {
        let order_id = id(order);
        let reserved = Event::StockReserved { order_id, quantity: one, available: 0, at: at() };
        [reserved, Event::StockCommitted { order_id, quantity: one }]
    });
    let stock: Stock = fold([opened].into_iter().chain(sales));
    assert_eq!(stock.share(id(1)), None);
    assert_eq!(stock.share(id(2)), Some(Share::Sold(one)));
    assert_eq!(stock.share(id(orders)), Some(Share::Sold(one)));
    assert_eq!(stock.sold, SALES_MAX as i64 + 1);
}

fn any_command() -> impl Strategy<Value = Command> {
    let order = 1..6_u128;
    prop_oneof![
        1 => (-2..30_i64).prop_map(open),
        1 => (1..20_i64).prop_map(|number| Command::Restock { quantity: quantity(number), at: at() }),
        1 => (-2..40_i64).prop_map(|to| Command::Adjust { to, at: at() }),
        6 => (order.clone(), 1..12_i64).prop_map(|(order, number)| reserve(order, number)),
        4 => order.clone().prop_map(release),
        4 => order.prop_map(commit),
        1 => Just(Command::Close),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_negative(commands in prop::collection::vec(any_command(), 0..80)) {
        let mut stock = fold::<Stock>(history::<Stock>([open(20)]));
        for command in commands {
            let before = stock.clone();
            if let Ok(Idempotent::Executed(events)) = stock.decide(command) {
                events.into_iter().for_each(|event| stock.fold_event(event));
            }
            let Stock { available, reserved, sold, initial, restocked, .. } = stock;
            prop_assert_eq!(available + reserved + sold, initial + restocked);
            prop_assert!(available >= 0 && reserved >= 0 && sold >= 0 && initial >= 0);
            prop_assert_eq!(reserved, stock.held.values().copied().map(i64::from).sum::<i64>());
            prop_assert_eq!(sold, stock.sales.values().copied().map(i64::from).sum::<i64>());
            prop_assert!(stock.held.keys().all(|order| !stock.sales.contains_key(order)));
            prop_assert!(before.stage != Stage::Closed || stock.stage == Stage::Closed);
        }
    }
}
