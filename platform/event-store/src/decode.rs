//! Rows of the event table as events of today.

use chrono::{DateTime, Utc};
use kernel::upcast::{self, Context, Form, UpcastError};
use kernel::{Decide, names};

use crate::Error;

/// What of a row says which event it holds.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// The aggregate's type.
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub aggregate_id: &'a str,
    /// Its place in the stream, from 1.
    pub sequence: u64,
    /// Its type.
    pub event_type: &'a str,
    /// The version of its form.
    pub event_version: &'a str,
    /// The JSON text.
    pub payload: &'a str,
    /// The database's time of the insert.
    pub recorded_at: DateTime<Utc>,
}

/// The events that a row means, in their order. They all stand at the row's sequence.
#[derive(Debug)]
pub struct Decoded<E>(Means<E>);

#[derive(Debug)]
enum Means<E> {
    One(Option<E>),
    Several(std::vec::IntoIter<E>),
}

impl<E> Iterator for Decoded<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        match &mut self.0 {
            Means::One(event) => event.take(),
            Means::Several(events) => events.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Means::One(event) => event.iter().len(),
            Means::Several(events) => events.len(),
        };
        (left, Some(left))
    }
}

impl<E> ExactSizeIterator for Decoded<E> {}

/// Whether events of this type and version are written in this form today, so that they need only be parsed.
pub fn is_current<A: Decide>(event_type: &str, event_version: &str) -> bool {
    if A::UPCASTERS.is_empty() {
        return event_version == "1";
    }
    event_version.parse() == Ok(upcast::current(A::UPCASTERS, event_type))
}

impl Stored<'_> {
    /// What it means today, in events of aggregate `A`: one, unless it was written in a form that is several events
    /// today, or none.
    ///
    /// # Errors
    /// It cannot be read, or a newer program wrote it.
    pub fn decode_all<A: Decide>(&self) -> Result<Decoded<A::Event>, Error> {
        if is_current::<A>(self.event_type, self.event_version) {
            let event = serde_json::from_str(self.payload).map_err(|error| self.unread::<A>(&error))?;
            return Ok(Decoded(Means::One(Some(event))));
        }
        let payloads = self.upcast(A::UPCASTERS)?;
        let events: Result<Vec<A::Event>, _> = payloads.into_iter().map(serde_json::from_value).collect();
        Ok(Decoded(Means::Several(events.map_err(|error| self.undecodable(&error))?.into_iter())))
    }

    fn upcast(&self, upcasters: &[upcast::Upcaster]) -> Result<Vec<serde_json::Value>, Error> {
        let Self { aggregate_id, sequence, recorded_at, .. } = *self;
        let version = self.event_version.parse();
        let version = version.map_err(|_| self.undecodable(&format!("its version is {:?}", self.event_version)))?;
        let payload = serde_json::from_str(self.payload).map_err(|error| self.undecodable(&error))?;
        let form = Form { event_type: self.event_type.to_owned(), version, payload };
        upcast::upcast(upcasters, form, &Context { aggregate_id, sequence, recorded_at }).map_err(|error| match error {
            UpcastError::Unknown { .. } => self.unknown(error.to_string()),
            UpcastError::Failed { .. } => self.undecodable(&error),
        })
    }

    /// Why a payload of a form that is today's cannot be read: a type that nobody here knows is a newer program's.
    fn unread<A: Decide>(&self, error: &serde_json::Error) -> Error {
        let variants = names::variants::<A::Event>();
        if variants.is_empty() || variants.iter().any(|variant| names::event_type(variant) == self.event_type) {
            return self.undecodable(error);
        }
        self.unknown(format!("events of type {} are not known to this program", self.event_type))
    }

    fn unknown(&self, error: String) -> Error {
        let Self { aggregate_type, aggregate_id, sequence, .. } = self;
        Error::UnknownVersion { what: format!("event {sequence} of {aggregate_type}/{aggregate_id}"), error }
    }

    fn undecodable(&self, error: &impl ToString) -> Error {
        let stream = format!("{}/{}", self.aggregate_type, self.aggregate_id);
        Error::Undecodable { stream, sequence: self.sequence, error: error.to_string() }
    }
}
