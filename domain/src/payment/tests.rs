//! The tests of payments.

use kernel::{Decide, fold};
use proptest::prelude::*;

use super::*;
use crate::testing::{at, euros, every_command_in_every_state, given, id};

fn charge() -> Command {
    let payment_method = PaymentMethod::default();
    Command::Charge { order_id: id(1), user_id: id(2), amount: euros(500), payment_method, at: at() }
}

fn captured() -> Command {
    Command::RecordCaptured { transaction_id: TransactionId("TXN-1".into()), at: at() }
}

fn declined() -> Command {
    Command::RecordDeclined { reason: "card_declined".into(), at: at() }
}

fn refund() -> Command {
    Command::Refund { order_id: id(1), reason: "timeout".into(), at: at() }
}

fn refunded() -> Command {
    Command::RecordRefunded { transaction_id: TransactionId("TXN-2".into()), at: at() }
}

fn refund_failed() -> Command {
    Command::RecordRefundFailed { reason: "closed".into(), at: at() }
}

fn refund_requested(attempt: u32) -> Event {
    Event::RefundRequested {
        order_id: id(1),
        user_id: id(2),
        amount: euros(500),
        transaction_id: TransactionId("TXN-1".into()),
        attempt,
        reason: "timeout".into(),
        at: at(),
    }
}

#[test]
fn every_command_does_what_it_must_in_every_state() {
    let charged = |more: &[Command]| [&[charge()], more].concat();
    every_command_in_every_state::<Payment>(
        &[charge(), captured(), declined(), refund(), refunded(), refund_failed()],
        &[
            (
                "unasked",
                vec![],
                "charge_requested !NothingAsked !NothingAsked payment_voided !NothingAsked !NothingAsked",
            ),
            ("voided", vec![refund()], "charge_refused !NothingAsked !NothingAsked - !NothingAsked !NothingAsked"),
            ("refused", vec![refund(), charge()], "- !NothingAsked !NothingAsked - !NothingAsked !NothingAsked"),
            (
                "in flight",
                charged(&[]),
                "- payment_captured payment_declined refund_deferred !NothingAsked !NothingAsked",
            ),
            (
                "in flight, to be refunded",
                charged(&[refund()]),
                "- payment_captured+refund_requested payment_declined+payment_refunded - !NothingAsked !NothingAsked",
            ),
            ("declined", charged(&[declined()]), "- !AlreadyDeclined - payment_voided !NothingAsked !NothingAsked"),
            (
                "declined, voided",
                charged(&[declined(), refund()]),
                "- !AlreadyDeclined - - !NothingAsked !NothingAsked",
            ),
            (
                "refunded nothing",
                charged(&[refund(), declined()]),
                "- !AlreadyDeclined - - !NothingAsked !NothingAsked",
            ),
            ("captured", charged(&[captured()]), "- - !AlreadyCaptured refund_requested !NothingAsked !NothingAsked"),
            ("refunding", charged(&[captured(), refund()]), "- - !AlreadyCaptured - payment_refunded refund_failed"),
            (
                "refunding, deferred",
                charged(&[refund(), captured()]),
                "- - !AlreadyCaptured - payment_refunded refund_failed",
            ),
            (
                "refund failed",
                charged(&[captured(), refund(), refund_failed()]),
                "- - !AlreadyCaptured refund_requested payment_refunded -",
            ),
            ("refunded", charged(&[captured(), refund(), refunded()]), "- - !AlreadyCaptured - - !AlreadyRefunded"),
        ],
    );
}

#[test]
fn a_refund_before_the_charge_names_no_user() {
    let reason = Reason::from("timeout");
    let voided =
        |user_id, currency, reason| [Event::PaymentVoided { order_id: id(1), user_id, currency, reason, at: at() }];
    given::<Payment>([]).when(refund()).then(voided(None, None, reason.clone()));
    given::<Payment>([charge(), declined()]).when(refund()).then(voided(Some(id(2)), Some(Currency::EUR), reason));
}

#[test]
fn a_deferred_refund_follows_the_answer() {
    let charged = given::<Payment>([charge(), refund()]);
    let (order_id, user_id) = (id(1), id(2));
    let captured_event = Event::PaymentCaptured {
        order_id,
        user_id,
        amount: euros(500),
        transaction_id: TransactionId("TXN-1".into()),
        at: at(),
    };
    charged.when(captured()).then([captured_event, refund_requested(1)]);
    let reason = "card_declined".into();
    let nothing = Event::PaymentRefunded { order_id, user_id, amount: euros(0), transaction_id: None, at: at() };
    charged
        .when(declined())
        .then([Event::PaymentDeclined { order_id, user_id, amount: euros(500), reason, at: at() }, nothing]);
}

#[test]
fn a_refund_is_asked_for_again_under_a_new_number() {
    let failed = [charge(), captured(), refund(), refund_failed()];
    given::<Payment>(failed.clone()).when(refund()).then([refund_requested(2)]);
    given::<Payment>([&failed[..], &[refund(), refund_failed()]].concat()).when(refund()).then([refund_requested(3)]);
}

#[test]
fn a_second_transaction_is_an_error() {
    let other = TransactionId("TXN-9".into());
    given::<Payment>([charge(), captured()])
        .when(Command::RecordCaptured { transaction_id: other.clone(), at: at() })
        .then_refused(Error::AnotherTransaction(other.clone()));
    given::<Payment>([charge(), captured(), refund(), refunded()])
        .when(Command::RecordRefunded { transaction_id: other.clone(), at: at() })
        .then_refused(Error::AnotherTransaction(other));
}

#[test]
fn only_an_amount_can_be_charged() {
    for cents in [0, -5] {
        let payment_method = PaymentMethod::default();
        let amount = euros(cents);
        given::<Payment>([])
            .when(Command::Charge { order_id: id(1), user_id: id(2), amount, payment_method, at: at() })
            .then_refused(Error::NotAnAmount(amount));
    }
}

proptest! {
    #[test]
    fn money_is_taken_once_and_given_back_once(picks in prop::collection::vec(0..6_usize, 0..40)) {
        let commands = [charge(), captured(), declined(), refund(), refunded(), refund_failed()];
        let (mut payment, mut events) = (fold::<Payment>([]), Vec::new());
        for pick in picks {
            if let Ok(Idempotent::Executed(decided)) = payment.decide(commands[pick].clone()) {
                decided.iter().for_each(|event| payment.fold_event(event.clone()));
                events.extend(decided);
            }
        }
        let sum = |amount: fn(&Event) -> i64| events.iter().map(amount).sum::<i64>();
        let taken = sum(|event| if let Event::PaymentCaptured { amount, .. } = event { amount.minor } else { 0 });
        let given_back = sum(|event| if let Event::PaymentRefunded { amount, .. } = event { amount.minor } else { 0 });
        prop_assert!(taken == 0 || taken == 500);
        prop_assert!(given_back == 0 || given_back == taken);
        let voided = events.iter().position(|event| matches!(event, Event::PaymentVoided { .. }));
        let asked = events.iter().rposition(|event| matches!(event, Event::ChargeRequested { .. }));
        prop_assert!(voided.is_none_or(|voided| asked.is_none_or(|asked| asked < voided && taken == 0)));
    }
}
