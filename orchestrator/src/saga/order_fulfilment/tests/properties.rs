//! What holds whatever is delivered when, how often and how late.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::world::{Act, Charge, Hold, Placed, World};
use super::*;

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        16 => (0..10_usize).prop_map(Act::Deliver),
        2 => (0..10_usize, 1..4_usize).prop_map(|(log, by)| Act::Rewind(log, by)),
        2 => any::<bool>().prop_map(Act::Provider),
        1 => (1..12_u32).prop_map(Act::RefundsFail),
        1 => Just(Act::CustomerCancels),
        2 => (0..20_u32).prop_map(Act::Later),
        1 => Just(Act::Due),
        1 => any::<bool>().prop_map(Act::Operator),
        1 => any::<bool>().prop_map(Act::Stands),
        1 => (0..CommandKind::ALL.len()).prop_map(|from| Act::Restarts(CommandKind::ALL[from])),
    ]
}

/// What is there of each product, and what is ordered of it.
fn lines() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((0..8_i64, 1..4_i64), 1..=3)
}

/// Only what was done or may have been is undone, and nothing ends before its steps have.
fn check_history(story: &Story) -> Result<(), TestCaseError> {
    let mut refused = BTreeSet::new();
    let mut asked = BTreeSet::new();
    let mut open = BTreeSet::new();
    let mut charges = BTreeSet::new();
    for event in &story.events {
        match event {
            Event::CommandIssued { step, direction, command_id, .. } => {
                if *direction == Direction::Undo {
                    prop_assert!(asked.contains(step), "{step} is undone and was never asked for");
                    prop_assert!(!refused.contains(step), "{step} is undone and was refused");
                }
                if *step == StepId::CancelOrder {
                    prop_assert!(open.iter().all(|(_, d)| *d == Direction::Forward), "cancelled before {open:?}");
                }
                if (*step, *direction) == (StepId::ChargePayment, Direction::Forward) {
                    charges.insert(*command_id);
                }
                asked.insert(*step);
                open.insert((*step, *direction));
            }
            Event::StepSucceeded { step, direction, .. } => {
                if *direction == Direction::Forward {
                    refused.remove(step);
                }
                open.remove(&(*step, *direction));
            }
            Event::StepFailed { step, direction: Direction::Forward, .. } => {
                refused.insert(*step);
                open.remove(&(*step, Direction::Forward));
            }
            Event::SagaCompleted { .. } => prop_assert!(open.is_empty(), "completed before {open:?}"),
            _ => {}
        }
    }
    prop_assert!(charges.len() <= 1, "charged under {charges:?}");
    prop_assert_eq!(&fold::<OrderFulfilment>(story.events.clone()), &story.saga);
    Ok(())
}

fn check_end(world: &World, before: &[(i64, i64)]) -> Result<(), TestCaseError> {
    let done = world.story.saga.state() == Completed;
    let total = order(&[]).total.minor;
    prop_assert_eq!(world.payment.captured - world.payment.refunded, if done { total } else { 0 });
    prop_assert!(world.payment.captured <= total);
    let charging = matches!(world.payment.charge, Charge::AtProvider { .. });
    prop_assert!(!charging, "the provider still has the charge");
    prop_assert_eq!(world.placed, if done { Placed::Confirmed } else { Placed::Cancelled });
    for (stock, (available, ordered)) in world.stocks.iter().zip(before) {
        let reserved = matches!(stock.hold, Hold::Reserved(_));
        prop_assert!(!reserved, "stock is left reserved");
        prop_assert_eq!(stock.hold == Hold::Sold(*ordered), done);
        prop_assert_eq!(stock.available, if done { available - ordered } else { *available });
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_saga_ends_and_conserves_stock_and_money(
        lines in lines(),
        acts in prop::collection::vec(act(), 0..200),
        card_is_good in any::<bool>(),
    ) {
        let (available, ordered): (Vec<_>, Vec<_>) = lines.iter().copied().unzip();
        let mut world = World::new(&available, &ordered);
        world.card_is_good = card_is_good;
        for act in acts {
            world.act(act);
            prop_assert!(world.stocks.iter().all(|stock| stock.available >= 0));
        }
        prop_assert!(world.settle(400).is_some(), "{:?} has not ended", world.story.saga);
        check_history(&world.story)?;
        check_end(&world, &lines)?;

        // A customer may still cancel, and what is delivered again then changes nothing.
        world.act(Act::CustomerCancels);
        prop_assert!(world.settle(400).is_some());
        prop_assert_eq!(world.story.saga.state(), Cancelled);
        for log in 0..10 {
            world.act(Act::Rewind(log, 1_000));
        }
        prop_assert!(world.settle(4_000).is_some());
        check_history(&world.story)?;
        check_end(&world, &lines)?;
    }

    #[test]
    fn no_input_in_any_order_makes_a_saga_fail(choices in prop::collection::vec((0..40_usize, 0..40_u32), 0..120)) {
        let line = |number| [reserved(number), rejected(number), committed(number), released(number)];
        let operator = [retry(), skip(), cancel(), pause(), resume()].into_iter().chain(CommandKind::ALL.map(restart));
        let mut inputs = vec![created(order(&[1, 1])), paid(), declined(), In::PaymentRefunded, refund_failed()];
        inputs.extend([In::OrderConfirmed, In::OrderCancelled, In::CancelRequested, In::Timeout]);
        inputs.extend(line(1).into_iter().chain(line(2)).chain(line(3)));
        let messages = inputs.len();
        inputs.extend(operator);
        let mut story = Story::of_lines(2);
        for (choice, seconds) in choices {
            let choice = choice % inputs.len();
            story.now += chrono::TimeDelta::seconds(seconds.into());
            match story.clone().try_on(inputs[choice].clone()) {
                Ok(next) => {
                    let (from, on, to) = (story.saga.state(), inputs[choice].trigger(), next.saga.state());
                    let listed = TRANSITIONS.iter().any(|row| (row.0, row.1) == (from, on) && row.2.contains(&to));
                    prop_assert!(next.last.is_empty() || listed, "{from} on {on:?} to {to} is not in the table");
                    story = next;
                }
                Err(error) => prop_assert!(choice >= messages, "{:?}: {error}", inputs[choice]),
            }
            let waits = story.saga.steps().iter().any(|step| step.status == Status::Waiting);
            let rests = story.saga.state().is_over() || matches!(story.saga.state(), Stuck | Paused);
            prop_assert!(!story.saga.state().is_over() || !waits, "over and waiting");
            prop_assert!(rests || story.saga.deadline().is_some(), "{} without a deadline", story.saga.state());
        }
        prop_assert_eq!(fold::<OrderFulfilment>(story.events), story.saga);
    }
}
