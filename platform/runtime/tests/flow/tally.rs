//! A service small enough to see through: tallies of numbers, fed by messages.

use chrono::{DateTime, Utc};
use event_store::RecordedEvent;
use kernel::Idempotent;
use kernel::upcast::{Context, Form, Upcaster};
use runtime::consumer::{Handler, Timer};
use runtime::{Message, Outgoing, Publish, message};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The type of the one message there is.
pub const NUMBER_ADDED: &str = "number_added";
/// Larger numbers are refused.
pub const NUMBER_MAX: u64 = 1_000;

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Add(u64),
    RemindAt(DateTime<Utc>),
    Remind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Added { number: u64 },
    ReminderSet { at: DateTime<Utc> },
    Reminded,
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::Added { .. } => "added",
            Self::ReminderSet { .. } => "reminder_set",
            Self::Reminded => "reminded",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0} is too large")]
pub struct TooLarge(u64);

/// It remembers each number that it was given, twice if it was given twice: what is handled twice
/// shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub numbers: Vec<u64>,
    pub remind_at: Option<DateTime<Utc>>,
    pub reminded: u32,
}

impl Tally {
    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, TooLarge> {
        Ok(match command {
            Command::Add(number) if number > NUMBER_MAX => return Err(TooLarge(number)),
            Command::Add(number) => Idempotent::Executed(vec![Event::Added { number }]),
            Command::RemindAt(at) => Idempotent::Executed(vec![Event::ReminderSet { at }]),
            Command::Remind if self.remind_at.is_none() => Idempotent::AlreadyDone,
            Command::Remind => Idempotent::Executed(vec![Event::Reminded]),
        })
    }

    fn fold_event(&mut self, event: Event) {
        match event {
            Event::Added { number } => self.numbers.push(number),
            Event::ReminderSet { at } => self.remind_at = Some(at),
            Event::Reminded => {
                self.remind_at = None;
                self.reminded += 1;
            }
        }
    }
}

/// Numbers were added many at a time once.
const UPCASTERS: &[Upcaster] = &[Upcaster::raw("many_added", 1, |payload, _: &Context<'_>| {
    let numbers = payload["ManyAdded"]["numbers"].as_array().ok_or("it has no numbers")?;
    let added = |number: &Value| Form {
        event_type: "added".to_owned(),
        version: 1,
        payload: json!({ "Added": { "number": number } }),
    };
    Ok(numbers.iter().map(added).collect())
})];

kernel::aggregate!(Tally, "tally", Command, Event, TooLarge, snapshot_every = 10, upcasters = UPCASTERS);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberAdded {
    pub number: u64,
    #[serde(default)]
    pub remind_at: Option<DateTime<Utc>>,
}

/// Each number that is added is everybody's business.
pub struct Publisher {
    pub topic: &'static str,
}

impl Publish for Publisher {
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, event_store::Error> {
        let outgoing = |number| {
            let data = NumberAdded { number, remind_at: None };
            Outgoing::new(self.topic, &event.aggregate_id, NUMBER_ADDED, &data)
        };
        let added = |event| if let Event::Added { number } = event { Some(number) } else { None };
        Ok(event.decode_all::<Tally>()?.filter_map(added).map(outgoing).collect())
    }
}

/// Adds what it is told to the tally of the message's key. With `REMEMBERS` it knows what it has
/// handled; without, only the offsets keep it from handling a record twice.
pub struct Follows<const REMEMBERS: bool>;

impl<const REMEMBERS: bool> Handler for Follows<REMEMBERS> {
    type Aggregate = Tally;
    const TIMERS: bool = true;
    const INBOX: bool = REMEMBERS;

    fn commands(&self, message: &Message, _now: DateTime<Utc>) -> Result<Vec<(String, Command)>, message::Error> {
        if message.message_type != NUMBER_ADDED {
            return Err(message::Error::UnknownType(message.message_type.clone()));
        }
        let data: NumberAdded = message.data()?;
        let command = data.remind_at.map_or(Command::Add(data.number), Command::RemindAt);
        Ok(vec![(message.key.clone(), command)])
    }

    fn timer(&self, _id: &str, before: &Tally, after: &Tally) -> Option<Timer> {
        match after.remind_at {
            Some(at) if before.remind_at != Some(at) => Some(Timer::Set(at)),
            None if before.remind_at.is_some() => Some(Timer::Clear),
            _ => None,
        }
    }

    fn timeout(&self, _id: &str, _now: DateTime<Utc>) -> Option<Command> {
        Some(Command::Remind)
    }
}
