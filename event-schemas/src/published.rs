//! What all published messages have in common.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A message with a name, a topic and a key.
pub trait Published: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Its type: `ce_type` of the record, and the field `event_type`.
    const TYPE: &'static str;
    /// The topic that it is published to.
    const TOPIC: &'static str;
    /// The field that is the record's key.
    const KEY: &'static str;
    /// The version of its form: higher than 1 once it has changed so that readers must be told.
    const VERSION: u32 = 1;

    /// The record's key: messages with one key keep their order.
    fn key(&self) -> String;

    /// The message as the JSON of a record's value.
    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// The message in a record's value. Unknown fields are ignored.
    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }
}

/// The field `event_type` of the message `M`: always [`Published::TYPE`], so `EventType::default()` fills it.
pub struct EventType<M>(PhantomData<fn() -> M>);

impl<M> Default for EventType<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M> Clone for EventType<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for EventType<M> {}

impl<M> PartialEq for EventType<M> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<M> Eq for EventType<M> {}

impl<M: Published> fmt::Debug for EventType<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        M::TYPE.fmt(f)
    }
}

impl<M: Published> Serialize for EventType<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(M::TYPE)
    }
}

impl<'de, M: Published> Deserialize<'de> for EventType<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Cow::<str>::deserialize(deserializer)? {
            name if name == M::TYPE => Ok(Self::default()),
            name => Err(D::Error::invalid_value(Unexpected::Str(&name), &M::TYPE)),
        }
    }
}

impl<M: Published> JsonSchema for EventType<M> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("EventType_{}", M::TYPE).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "const": M::TYPE })
    }
}

/// Names a message: its type, its topic, and the field that is its key.
macro_rules! published {
    ($($message:ident: $name:literal on $topic:ident by $key:ident;)+) => {$(
        impl $crate::Published for $message {
            const TYPE: &'static str = $name;
            const TOPIC: &'static str = $crate::topics::$topic;
            const KEY: &'static str = stringify!($key);

            fn key(&self) -> String {
                self.$key.to_string()
            }
        }
    )+};
}
pub(crate) use published;
