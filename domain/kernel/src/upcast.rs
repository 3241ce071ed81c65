//! Stored events of earlier versions, read as what they mean today.
//!
//! Events are for ever, their form is not: an [`Upcaster`] turns one form of an event into the next, when it is read. So
//! folds, read models and publishers know today's forms alone. A form that nobody here knows was written by a newer
//! program: whoever meets it stops.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An event becomes something else so often at most; more is a circle.
const STEPS_MAX: usize = 100;

/// What an upcaster may need to know beside what the event says.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The stream's id.
    pub aggregate_id: &'a str,
    /// The event's place in it.
    pub sequence: u64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// An event in one of its forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// The type that it is stored under.
    pub event_type: String,
    /// The form's number, from 1 on.
    pub version: u32,
    /// The JSON that is stored.
    pub payload: Value,
}

impl Form {
    /// The form of an event that is tagged with its type: `{"stock_restocked": {…}}`.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn new(event_type: &str, version: u32, content: &impl Serialize) -> Result<Self, String> {
        let content = serde_json::to_value(content).map_err(|error| error.to_string())?;
        let payload = Value::Object(Map::from_iter([(event_type.to_owned(), content)]));
        Ok(Self { event_type: event_type.to_owned(), version, payload })
    }
}

/// What becomes of a form: one or several later ones, in their order; none, if it means nothing any more.
type Run = fn(Value, &Context<'_>) -> Result<Vec<Form>, String>;

/// Turns one form of an event into later ones.
#[derive(Clone, Copy)]
pub struct Upcaster {
    event_type: &'static str,
    from: u32,
    run: Run,
}

/// An upcaster of a form that has a type of its own.
pub trait Upcast {
    /// The event.
    const EVENT_TYPE: &'static str;
    /// The form's number.
    const FROM: u32;
    /// What stood below the event's tag.
    type Old: DeserializeOwned;

    /// What it means today.
    ///
    /// # Errors
    /// It says what cannot be: the event is then unreadable, and whoever meets it stops.
    fn upcast(old: Self::Old, context: &Context<'_>) -> Result<Vec<Form>, String>;
}

impl Upcaster {
    /// An upcaster that works on the JSON as it is stored.
    pub const fn raw(event_type: &'static str, from: u32, run: Run) -> Self {
        Self { event_type, from, run }
    }

    /// An upcaster of a typed form.
    pub const fn typed<U: Upcast>() -> Self {
        Self { event_type: U::EVENT_TYPE, from: U::FROM, run: typed::<U> }
    }

    /// The event that it is for.
    pub fn event_type(&self) -> &'static str {
        self.event_type
    }

    /// The form that it is for.
    pub fn from(&self) -> u32 {
        self.from
    }
}

fn typed<U: Upcast>(payload: Value, context: &Context<'_>) -> Result<Vec<Form>, String> {
    let content = match payload {
        Value::Object(tagged) if tagged.len() == 1 => tagged.into_iter().next().map(|(_, content)| content),
        _ => None,
    };
    let content = content.ok_or("it is not tagged with its type")?;
    U::upcast(serde_json::from_value(content).map_err(|error| error.to_string())?, context)
}

/// Why a form could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpcastError {
    /// A newer program wrote it.
    #[error("{event_type} is of version {version}, and this program knows it up to version {known}")]
    Unknown {
        /// The event.
        event_type: String,
        /// Its form.
        version: u32,
        /// The latest that is known.
        known: u32,
    },
    /// It says what cannot be.
    #[error("{event_type} of version {version} means nothing today: {error}")]
    Failed {
        /// The event.
        event_type: String,
        /// Its form.
        version: u32,
        /// What is wrong with it.
        error: String,
    },
}

/// The form in which events of this type are written today.
pub fn current(upcasters: &[Upcaster], event_type: &str) -> u32 {
    let of_type = upcasters.iter().filter(|upcaster| upcaster.event_type == event_type);
    of_type.map(|upcaster| upcaster.from + 1).max().unwrap_or(1)
}

/// The payloads that a form means today, in their order.
///
/// # Errors
/// A newer program wrote it, or it says what cannot be.
pub fn upcast(upcasters: &[Upcaster], form: Form, context: &Context<'_>) -> Result<Vec<Value>, UpcastError> {
    let (mut waiting, mut today) = (vec![form], Vec::new());
    for _ in 0..STEPS_MAX {
        let Some(Form { event_type, version, payload }) = waiting.pop() else { return Ok(today) };
        let of_form = |upcaster: &&Upcaster| (upcaster.event_type, upcaster.from) == (event_type.as_str(), version);
        match upcasters.iter().find(of_form) {
            Some(upcaster) => {
                let failed = |error| UpcastError::Failed { event_type: event_type.clone(), version, error };
                let later = (upcaster.run)(payload, context).map_err(failed)?;
                waiting.extend(later.into_iter().rev());
            }
            None => match current(upcasters, &event_type) {
                known if known == version => today.push(payload),
                known => return Err(UpcastError::Unknown { event_type, version, known }),
            },
        }
    }
    let Form { event_type, version, .. } = waiting.pop().unwrap_or_else(|| unreachable!("a circle has no end"));
    Err(UpcastError::Failed { event_type, version, error: "its upcasters go round in a circle".to_owned() })
}

#[cfg(test)]
mod tests;
