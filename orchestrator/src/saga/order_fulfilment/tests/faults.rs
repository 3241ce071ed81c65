//! Every step is failed once and repeated once, undo included.

use std::collections::BTreeSet;

use super::world::{Act, Fault, Hold, Placed, World};
use super::*;

/// A run of a whole saga; its name, whether the card is good, and whether the customer cancels in the end.
const RUNS: [(&str, bool, bool); 3] =
    [("goes through", true, false), ("declined", false, false), ("cancelled after completion", true, true)];

fn run(card_is_good: bool, cancelled_after: bool, fault: Option<(StepId, Direction, Fault)>) -> World {
    let mut world = World::new(&[5, 5], &[2, 3]);
    (world.card_is_good, world.fault) = (card_is_good, fault);
    world.settle(200).expect("the saga ends");
    if cancelled_after {
        world.act(Act::CustomerCancels);
        world.settle(200).expect("the saga ends");
    }
    world
}

fn steps(world: &World) -> Vec<(StepId, Direction)> {
    world.story.saga.steps().iter().map(|step| (step.id, step.direction)).collect()
}

fn assert_conserved(world: &World, case: &str) {
    let done = world.story.saga.state() == Completed;
    assert_eq!(world.placed, if done { Placed::Confirmed } else { Placed::Cancelled }, "{case}");
    assert_eq!(world.payment.captured - world.payment.refunded, if done { 1_000 } else { 0 }, "{case}");
    for (stock, ordered) in world.stocks.iter().zip([2, 3]) {
        assert_eq!(stock.available, if done { 5 - ordered } else { 5 }, "{case}");
        assert_eq!(stock.hold == Hold::Sold(ordered), done, "{case}");
    }
}

#[test]
fn every_step_failed_once() {
    let mut failed = BTreeSet::new();
    for (name, card_is_good, cancelled_after) in RUNS {
        let good = run(card_is_good, cancelled_after, None);
        assert_conserved(&good, name);
        for (step, direction) in steps(&good) {
            for fault in [Fault::Unheard, Fault::Unanswered] {
                let case = format!("{name}, {step}/{direction} {fault:?}");
                let world = run(card_is_good, cancelled_after, Some((step, direction, fault)));
                assert_eq!(world.fault, None, "{case}: did not happen");
                assert_conserved(&world, &case);
                let state = world.story.saga.state();
                match (step, direction) {
                    (StepId::ReserveStock(_), Direction::Forward) => assert_eq!(state, Cancelled, "{case}"),
                    // A charge is answered by the provider, so only its command can be lost.
                    (StepId::ChargePayment, Direction::Forward) if fault == Fault::Unheard => {
                        assert_eq!(state, Cancelled, "{case}");
                    }
                    _ => assert_eq!(state, good.story.saga.state(), "{case}"),
                }
            }
            failed.insert((step, direction));
        }
    }
    // Two lines: reserve, release and commit of each; charge, refund, confirm, cancel.
    assert_eq!(failed.len(), 10);
}

#[test]
fn every_step_repeated_once() {
    for (name, card_is_good, cancelled_after) in RUNS {
        let good = run(card_is_good, cancelled_after, None);
        for (step, direction) in steps(&good) {
            let case = format!("{name}, {step}/{direction}");
            let world = run(card_is_good, cancelled_after, Some((step, direction, Fault::Repeated)));
            assert_eq!(world.fault, None, "{case}: did not happen");
            assert_conserved(&world, &case);
            assert_eq!(world.story.events, good.story.events, "{case}");
        }
    }
}
