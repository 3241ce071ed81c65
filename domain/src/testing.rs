//! Given – when – then.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use kernel::{Currency, Decide, Idempotent, Money, fold};
use uuid::Uuid;

pub(crate) fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(crate) fn id<I: From<Uuid>>(number: u128) -> I {
    Uuid::from_u128(number).into()
}

pub(crate) fn euros(cents: i64) -> Money {
    Money::new(cents, Currency::EUR)
}

/// The events that these commands led to, one after the other; each must be accepted.
pub(crate) fn history<A: Decide>(commands: impl IntoIterator<Item = A::Command>) -> Vec<A::Event> {
    let mut state = A::default();
    let mut events = Vec::new();
    for command in commands {
        let Idempotent::Executed(decided) = state.decide(command).expect("accepted") else { continue };
        for event in decided {
            state.apply(event.clone());
            events.push(event);
        }
    }
    events
}

/// A state that these commands led to, after it and its events went through JSON, as they do in the store.
pub(crate) fn given<A: Decide>(commands: impl IntoIterator<Item = A::Command>) -> Given<A> {
    let stored = history::<A>(commands).into_iter().map(|event| {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), [&event.event_type()]);
        let read: A::Event = serde_json::from_value(json).unwrap();
        assert_eq!(read, event);
        read
    });
    let state = fold::<A>(stored);
    Given(serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap())
}

pub(crate) struct Given<A>(pub A);

impl<A: Decide> Given<A> {
    pub(crate) fn when(&self, command: A::Command) -> Outcome<A> {
        Outcome(self.0.decide(command))
    }
}

pub(crate) struct Outcome<A: Decide>(Result<Idempotent<Vec<A::Event>>, A::Error>);

impl<A: Decide<Error: PartialEq>> Outcome<A> {
    #[track_caller]
    pub(crate) fn then(self, events: impl Into<Vec<A::Event>>) {
        assert_eq!(self.0, Ok(Idempotent::Executed(events.into())));
    }

    #[track_caller]
    pub(crate) fn then_already_done(self) {
        assert_eq!(self.0, Ok(Idempotent::AlreadyDone));
    }

    #[track_caller]
    pub(crate) fn then_refused(self, error: A::Error) {
        assert_eq!(self.0, Err(error));
    }
}

/// Every command in every state. A row is a state: its name, the commands that lead to it, and what each command does
/// in it, one word each: the events' types with `+` between them, `-` for already done, `!Error` for an error.
#[track_caller]
pub(crate) fn every_command_in_every_state<A: Decide>(commands: &[A::Command], states: &[(&str, Vec<A::Command>, &str)])
where
    A::Command: Debug,
{
    for (name, led_by, expected) in states {
        let state = given::<A>(led_by.clone());
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(expected.len(), commands.len(), "{name}");
        for (command, expected) in commands.iter().zip(expected) {
            let outcome = match state.when(command.clone()).0 {
                Ok(Idempotent::AlreadyDone) => "-".to_owned(),
                Ok(Idempotent::Executed(events)) => {
                    events.iter().map(DomainEvent::event_type).collect::<Vec<_>>().join("+")
                }
                Err(error) => {
                    let debug = format!("{error:?}");
                    format!("!{}", debug.split([' ', '(', '{']).next().unwrap_or_default())
                }
            };
            assert_eq!(outcome, expected, "{name}: {command:?}");
        }
    }
}
