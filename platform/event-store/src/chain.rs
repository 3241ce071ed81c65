//! Tamper evidence: a hash chain through each stream.
//!
//! Where a store chains ([`HashChain`]), an event's metadata holds the hash of the event before it in its stream, as
//! `prev_hash`; the first one's is that of the stream's name. Whoever changes, moves or takes out an event breaks the
//! link of the one after it. What is behind the last link, and what it takes to see that, stands in decision 21.

use std::fmt;
use std::str::FromStr;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{Append, RecordedEvent, StreamId};

/// What is deeper than this in a payload is hashed as it is written.
const DEPTH_MAX: usize = 64;

/// Whether a store chains what is appended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HashChain {
    /// It does not, and reads nothing for it.
    #[default]
    Off,
    /// It does.
    On,
    /// It goes on with the streams whose last event is chained: for tools beside a service that they know nothing of.
    Continue,
}

/// A SHA-256 hash, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NoHash;

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoHash);
        }
        let mut hash = [0; 32];
        for (n, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| NoHash)?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An event as it lies in its row: what its hash is made of.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The stream's type.
    pub aggregate_type: &'a str,
    /// The stream's id.
    pub aggregate_id: &'a str,
    /// The event's place in it, from 1.
    pub sequence: u64,
    /// The event's type.
    pub event_type: &'a str,
    /// Its schema's version.
    pub event_version: &'a str,
    /// The JSON text.
    pub payload: &'a str,
    /// The JSON text, with the hash of the event before.
    pub metadata: &'a str,
}

impl Link<'_> {
    /// The event's hash. Where the row lies and when the database wrote it is no part of it: a copy of the store has
    /// the same hashes. Neither are spaces, the order of names, and how characters are escaped in JSON.
    ///
    /// # Errors
    /// When payload or metadata is no JSON.
    pub fn hash(&self) -> Result<Hash, serde_json::Error> {
        let (mut payload, mut metadata) = (Vec::new(), Vec::new());
        canonical(self.payload, 0, &mut payload)?;
        canonical(self.metadata, 0, &mut metadata)?;
        let sequence = self.sequence.to_string();
        let texts = [self.aggregate_type, self.aggregate_id, &sequence, self.event_type, self.event_version];
        let fields = texts.map(str::as_bytes).into_iter().chain([payload.as_slice(), &metadata]);
        Ok(digest(b"sagashop event 1", fields))
    }

    /// The hash of the event before, as the metadata holds it; none, where it holds none that is one.
    pub fn before(&self) -> Option<Hash> {
        serde_json::from_str::<Linked>(self.metadata).ok()?.prev_hash?.parse().ok()
    }
}

#[derive(Deserialize)]
struct Linked {
    prev_hash: Option<String>,
}

impl RecordedEvent {
    /// The event's hash, as this store writes its metadata.
    pub fn hash(&self) -> Result<Hash, serde_json::Error> {
        let metadata = self.metadata.to_json();
        let Self { aggregate_type, aggregate_id, sequence, event_type, event_version, payload, .. } = self;
        let sequence = *sequence;
        Link { aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata: &metadata }.hash()
    }
}

impl StreamId {
    /// What the first event of a stream is chained to.
    pub fn genesis(&self) -> Hash {
        genesis(self.aggregate_type, &self.aggregate_id)
    }
}

/// What the first event of this stream is chained to.
pub fn genesis(aggregate_type: &str, aggregate_id: &str) -> Hash {
    digest(b"sagashop stream 1", [aggregate_type, aggregate_id].map(str::as_bytes).into_iter())
}

/// Chains the events of an append to each other, and the first of them to the hash of the one before.
pub(crate) fn link(append: &mut Append, mut before: Hash) -> Result<(), serde_json::Error> {
    let stream = &append.stream;
    let last = append.events.len();
    for (n, (event, sequence)) in append.events.iter_mut().zip(append.expected + 1..).enumerate() {
        event.metadata.prev_hash = Some(before);
        if n + 1 < last {
            let link = Link {
                aggregate_type: stream.aggregate_type,
                aggregate_id: &stream.aggregate_id,
                sequence,
                event_type: &event.event_type,
                event_version: &event.event_version,
                payload: &event.payload,
                metadata: &event.metadata.to_json(),
            };
            before = link.hash()?;
        }
    }
    Ok(())
}

/// Each field with its length before it, so that none can pass for another.
fn digest<'a>(what: &'static [u8], fields: impl Iterator<Item = &'a [u8]>) -> Hash {
    let mut hasher = Sha256::new();
    for field in [what].into_iter().chain(fields) {
        hasher.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(field);
    }
    Hash(hasher.finalize().into())
}

/// JSON without spaces, names in order, strings escaped in one way; numbers stay as they were written.
fn canonical(json: &str, depth: usize, into: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let json = json.trim_matches([' ', '\t', '\r', '\n']);
    match json.as_bytes().first() {
        Some(b'{') if depth < DEPTH_MAX => {
            let Members(mut members) = serde_json::from_str(json)?;
            // One that is there twice stays so, in its order.
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            into.push(b'{');
            for (n, (name, value)) in members.iter().enumerate() {
                if n > 0 {
                    into.push(b',');
                }
                serde_json::to_writer(&mut *into, name)?;
                into.push(b':');
                canonical(value.get(), depth + 1, into)?;
            }
            into.push(b'}');
        }
        Some(b'[') if depth < DEPTH_MAX => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            into.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    into.push(b',');
                }
                canonical(item.get(), depth + 1, into)?;
            }
            into.push(b']');
        }
        Some(b'"') => match serde_json::from_str::<String>(json) {
            Ok(text) => serde_json::to_writer(&mut *into, &text)?,
            // Half a surrogate pair: JSON, and no text.
            Err(_) => into.extend(json.as_bytes()),
        },
        _ => into.extend(serde_json::from_str::<&RawValue>(json)?.get().as_bytes()),
    }
    Ok(())
}

/// An object's members as they stand there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(json: &str) -> String {
        let mut text = Vec::new();
        canonical(json, 0, &mut text).expect("JSON");
        String::from_utf8(text).expect("UTF-8")
    }

    fn link(payload: &'static str) -> Link<'static> {
        Link {
            aggregate_type: "order",
            aggregate_id: "1",
            sequence: 2,
            event_type: "paid",
            event_version: "1",
            payload,
            metadata: "{}",
        }
    }

    #[test]
    fn what_means_the_same_has_the_same_form() {
        let one = r#"{"b":[1,2.50,{"d":"é\n","c":null}],"a":true}"#;
        let other = "{ \"a\" : true,\n\"b\" : [1, 2.50, {\"c\":null, \"d\":\"\\u00e9\\u000a\"}] }";
        assert_eq!(canonical_of(one), canonical_of(other));
        assert_eq!(canonical_of(one), r#"{"a":true,"b":[1,2.50,{"c":null,"d":"é\n"}]}"#);
    }

    #[test]
    fn what_means_another_thing_has_another_form() {
        let forms = [
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":100000000000000000001}"#,
            r#"{"a":100000000000000000002}"#,
            r#"{"a":"1"}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#"{"a":[1]}"#,
            r#""\ud800""#,
        ];
        let different: std::collections::BTreeSet<_> = forms.iter().map(|form| canonical_of(form)).collect();
        assert_eq!(different.len(), forms.len());
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(canonical_of(&deep), deep, "no stack is deep enough for everything");
    }

    #[test]
    fn every_field_counts_and_none_passes_for_another() {
        let whole = link(r#"{"a":1}"#);
        let others = [
            Link { aggregate_type: "orde", aggregate_id: "r1", ..whole },
            Link { aggregate_id: "2", ..whole },
            Link { sequence: 3, ..whole },
            Link { event_type: "payed", ..whole },
            Link { event_version: "2", ..whole },
            Link { metadata: r#"{"actor":"x"}"#, ..whole },
            link(r#"{"a":2}"#),
        ];
        let hash = whole.hash().expect("JSON");
        assert!(others.iter().all(|other| other.hash().expect("JSON") != hash));
        assert_eq!(link("{ \"a\": 1 }").hash().expect("JSON"), hash);
        assert!(link("{").hash().is_err());
    }

    #[test]
    fn hashes_are_read_as_they_are_written() {
        let hash = genesis("order", "1");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let metadata = format!(r#"{{"actor":"x","prev_hash":"{hash}"}}"#);
        assert_eq!(Link { metadata: &metadata, ..link("{}") }.before(), Some(hash));
        assert_eq!(link("{}").before(), None);
        for bad in ["", "0", "G000000000000000000000000000000000000000000000000000000000000000"] {
            assert_eq!(bad.parse::<Hash>(), Err(NoHash), "{bad}");
        }
    }

    /// The form is for ever: what was chained with it must be found whole in ten years.
    #[test]
    fn the_form_does_not_change() {
        assert_eq!(
            genesis("order", "1").to_string(),
            "d040e3b7a93cee223fd6e6e81961aa91d8d1d33ed2c651481c28b438bf18bb49"
        );
        assert_eq!(
            link(r#"{"a":1}"#).hash().expect("JSON").to_string(),
            "ddbe7aad0580370de93d3fb226f492965bea9ddb66ee0679a763bc21b0351f93"
        );
    }
}
