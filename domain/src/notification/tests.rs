use chrono::TimeDelta;

use super::*;
use crate::testing::{at, euros, every_command_in_every_state, given, id};

fn letter(channel: Channel) -> Letter {
    Letter {
        channel,
        recipient: id(2),
        template: "order_confirmed".to_owned(),
        order_id: Some(id(1)),
        webhook_id: None,
        amount: Some(euros(2_050)),
        reason: None,
    }
}

fn queue() -> Command {
    let message_id = Uuid::from_u128(7);
    let letter = letter(Channel::Email);
    Command::Queue { notification_id: letter.id(message_id), message_id, letter, at: at() }
}

fn sent() -> Command {
    Command::RecordSent { at: at() }
}

fn failed(next: Option<i64>) -> Command {
    let next_attempt_at = next.map(|seconds| at() + TimeDelta::seconds(seconds));
    Command::RecordFailure { failure: Failure::TimedOut, code: None, next_attempt_at, at: at() }
}

fn skip() -> Command {
    Command::Skip { why: Skip::UserDeleted, at: at() }
}

fn resend() -> Command {
    Command::Resend { at: at() }
}

#[test]
fn every_command_does_what_it_must_in_every_state() {
    let waits = "- notification_sent attempt_failed notification_gave_up notification_skipped -";
    every_command_in_every_state::<Notification>(
        &[queue(), sent(), failed(Some(1)), failed(None), skip(), resend()],
        &[
            ("unknown", vec![], "notification_queued !Unknown !Unknown !Unknown !Unknown !Unknown"),
            ("queued", vec![queue()], waits),
            ("to be tried again", vec![queue(), failed(Some(1))], waits),
            ("sent", vec![queue(), sent()], "- - !Ended !Ended !Ended notification_requeued"),
            ("failed", vec![queue(), failed(None)], "- !Ended - - !Ended notification_requeued"),
            ("skipped", vec![queue(), skip()], "- !Ended !Ended !Ended - notification_requeued"),
            ("to be sent again", vec![queue(), failed(None), resend()], waits),
        ],
    );
}

#[test]
fn attempts_are_counted() {
    let tried_twice = given::<Notification>([queue(), failed(Some(1)), failed(Some(2))]);
    tried_twice.when(sent()).then([Event::NotificationSent { attempt: 3, at: at() }]);
    let (failure, code) = (Failure::TimedOut, None);
    tried_twice.when(failed(None)).then([Event::NotificationGaveUp { attempts: 3, failure, code, at: at() }]);
    let next_attempt_at = at() + TimeDelta::seconds(4);
    let again = Event::AttemptFailed { attempt: 3, failure, code, next_attempt_at, at: at() };
    tried_twice.when(failed(Some(4))).then([again]);
}

#[test]
fn one_that_is_sent_again_has_all_its_attempts_before_it() {
    let again = given::<Notification>([queue(), failed(Some(1)), failed(None), resend()]);
    let Notification::Known(known) = &again.0 else { unreachable!() };
    assert_eq!((known.attempts, known.failed_attempts, known.status), (2, 0, Status::Queued));
    again.when(sent()).then([Event::NotificationSent { attempt: 3, at: at() }]);
}

#[test]
fn each_way_has_an_id_of_its_own() {
    let message = Uuid::from_u128(7);
    let hook = |n| Letter { webhook_id: Some(id(n)), ..letter(Channel::Webhook) };
    let ids = [
        letter(Channel::Log).id(message),
        letter(Channel::Email).id(message),
        hook(1).id(message),
        hook(2).id(message),
    ];
    let distinct: std::collections::BTreeSet<_> = ids.into_iter().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(letter(Channel::Email).id(message), NotificationId::of_message(message, "email"));
}

#[test]
fn events_of_the_first_version_are_still_read() {
    let stored = serde_json::json!({ "notification_queued": {
        "notification_id": Uuid::from_u128(1), "message_id": Uuid::from_u128(7), "channel": "email",
        "recipient": Uuid::from_u128(2), "template": "order_confirmed", "order_id": Uuid::from_u128(3), "at": at(),
    }});
    let Notification::Known(known) = kernel::fold([serde_json::from_value(stored).unwrap()]) else { unreachable!() };
    assert_eq!(known.letter, Letter { order_id: Some(id(3)), amount: None, ..letter(Channel::Email) });
    let stored =
        serde_json::json!({ "notification_gave_up": { "attempts": 5, "failure": "no_recipient", "at": at() } });
    let event = Event::NotificationGaveUp { attempts: 5, failure: Failure::NoRecipient, code: None, at: at() };
    assert_eq!(serde_json::from_value::<Event>(stored).unwrap(), event);
}
