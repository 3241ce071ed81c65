//! What operators do: sagas that stand still, and sagas that go back.

use super::*;
use CommandKind::{CancelOrder, ChargePayment, CommitStock, ConfirmOrder, RefundPayment, ReleaseStock, ReserveStock};

#[test]
fn a_paused_saga_asks_for_nothing_and_waits_for_nothing() {
    let story = Story::of_lines(1).on(pause()).is(Paused).asks(&[]);
    assert_eq!((story.saga.deadline(), story.saga.paused_at()), (None, Some(start())));
    let mut story = story.on(reserved(1)).is(Paused).asks(&[]);
    story.now += chrono::TimeDelta::hours(1);
    let story = story.ignores(In::Timeout).ignores(reserved(1)).is(Paused);
    assert_eq!(story.saga.kept(), [reserved(1)], "a message that comes again is kept once");
    assert_eq!(fold::<OrderFulfilment>(story.events), story.saga);
}

#[test]
fn what_came_meanwhile_is_handled_in_its_order_when_it_goes_on() {
    let story = Story::of_lines(2).on(pause()).on(reserved(1)).on(reserved(2)).on(In::CancelRequested);
    let story = story.on(resume()).is(Compensating);
    let story = story.asks(&["charge_payment", "refund_payment", "release_stock 2", "release_stock 1"]);
    assert_eq!((story.saga.kept(), story.saga.paused_at()), (&[] as &[In], None));
    assert_eq!(story.saga.cancel_reason(), Some(CANCELLED_BY_CUSTOMER));

    // What no longer fits is passed by.
    let story = Story::of_lines(1).on(pause()).on(In::CancelRequested).on(rejected(1)).on(resume());
    story.is(Compensating).asks(&["release_stock 1"]);
    Story::paid().on(pause()).on(In::OrderConfirmed).on(committed(1)).on(resume()).is(Completed);
}

#[test]
fn a_time_that_ran_out_meanwhile_has_run_out() {
    let mut story = Story::of_lines(1).on(pause());
    let reserve_by = start() + chrono::TimeDelta::seconds(10);
    story.now += chrono::TimeDelta::minutes(5);
    let late = story.clone().on(resume()).is(Reserving).asks(&[]);
    assert_eq!(late.saga.deadline(), Some(reserve_by), "the timer fires at once");
    late.on(In::Timeout).is(Compensating).asks(&["release_stock 1"]);
    // An answer that came in time counts before the timer does.
    story.on(reserved(1)).on(resume()).is(Charging).ignores(In::Timeout);
}

#[test]
fn a_saga_is_paused_where_it_is_and_goes_on_from_there() {
    for story in [Story::of_lines(1), Story::paid(), Story::compensating(), Story::compensating().gets_stuck()] {
        let state = story.saga.state();
        let paused = story.on(pause()).is(Paused);
        assert_eq!(paused.clone().try_on(pause()).err(), Some(Error::Paused));
        for act in [retry(), skip(), cancel(), restart(ChargePayment)] {
            assert_eq!(paused.clone().try_on(act).err(), Some(Error::Paused));
        }
        let story = paused.on(resume()).is(state);
        assert_eq!(story.try_on(resume()).err(), Some(Error::NotPaused(state)));
    }
    assert_eq!(Story::completed().try_on(pause()).err(), Some(Error::Over(Completed)));
    assert_eq!(Story::cancelled().try_on(pause()).err(), Some(Error::Over(Cancelled)));
    for act in [pause(), resume(), restart(ChargePayment)] {
        assert_eq!(Story::default().try_on(act).err(), Some(Error::NotStarted));
    }
}

#[test]
fn a_restart_asks_again_for_what_is_not_done() {
    let story = Story::of_lines(2).on(reserved(2)).on(restart(ReserveStock)).is(Reserving).asks(&["reserve_stock 1"]);
    let mut story = story.on(reserved(1)).is(Charging);
    story.now += chrono::TimeDelta::seconds(20);
    // All before the charge is done: it goes back to that, and has the whole wait again.
    let story = story.on(restart(ReserveStock)).is(Charging).asks(&["charge_payment"]);
    assert_eq!(story.saga.deadline(), Some(start() + chrono::TimeDelta::seconds(50)));
    let restarted = story.last.iter().find(|event| matches!(event, Event::OperatorRestarted { .. }));
    assert!(matches!(restarted, Some(Event::OperatorRestarted { from: ChargePayment, .. })), "{restarted:?}");
    let story =
        story.on(paid()).on(In::OrderConfirmed).on(restart(CommitStock)).asks(&["commit_stock 1", "commit_stock 2"]);
    let refused = story.clone().try_on(restart(ConfirmOrder)).err();
    assert_eq!(refused, Some(Error::NothingToRestart(ConfirmOrder)));
    story.on(committed(1)).on(committed(2)).is(Completed);
}

#[test]
fn what_was_skipped_by_mistake_is_asked_for_after_all() {
    let skipped = Story::compensating().on(released(1)).gets_stuck().on(skip()).is(Cancelling);
    // The cancellation waits until the money is back.
    let story = skipped.clone().on(restart(RefundPayment)).is(Compensating).asks(&["refund_payment"]);
    story.on(In::PaymentRefunded).is(Cancelling).asks(&["cancel_order"]).on(In::OrderCancelled).is(Cancelled);
    // Told meanwhile that the order is cancelled, it is not cancelled again.
    let story = skipped.clone().on(restart(RefundPayment)).on(In::OrderCancelled).is(Compensating);
    story.on(In::PaymentRefunded).is(Cancelled).asks(&[]);

    let over = skipped.on(In::OrderCancelled).is(Cancelled);
    let story = over.clone().on(restart(RefundPayment)).is(Compensating).asks(&["refund_payment"]);
    assert_eq!(story.saga.ended_at(), None);
    story.on(In::PaymentRefunded).is(Cancelled).asks(&[]);
    assert_eq!(over.try_on(restart(ReleaseStock)).err(), Some(Error::NothingToRestart(ReleaseStock)));

    let sold = Story::paid().on(In::OrderConfirmed).gets_stuck().on(skip()).is(Completed);
    let story = sold.on(restart(CommitStock)).is(Completing).asks(&["commit_stock 1"]);
    story.on(committed(1)).is(Completed);
}

#[test]
fn only_what_lies_on_its_way_is_gone_back_to() {
    for (story, from) in [(Story::of_lines(1), RefundPayment), (Story::paid(), CancelOrder)] {
        let refused = story.try_on(restart(from)).err();
        assert_eq!(refused, Some(Error::NotOnItsWay { from, goes_back: false }));
    }
    let refused = Story::compensating().try_on(restart(ReserveStock)).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the saga is undone and does not come to reserve_stock: it can restart from refund_payment, release_stock, \
         cancel_order"
    );
    assert_eq!(Story::completed().try_on(restart(ReserveStock)).err(), Some(Error::NothingToRestart(ReserveStock)));
    assert_eq!(Story::of_lines(1).try_on(restart(ChargePayment)).err(), Some(Error::NothingToRestart(ChargePayment)));

    // What is stuck beside it stays so.
    let stuck = Story::compensating().gets_stuck();
    let story = stuck.on(restart(ReleaseStock)).is(Stuck).asks(&["release_stock 1"]).on(released(1)).is(Stuck);
    story.on(restart(RefundPayment)).is(Compensating).on(In::PaymentRefunded).is(Cancelling);
}
