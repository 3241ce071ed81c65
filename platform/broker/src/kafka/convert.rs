//! Records as rskafka has them, and as we do.

use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use rskafka::record::{Record as KafkaRecord, RecordAndOffset};

use crate::{Record, Stored};

pub(super) fn to_kafka(record: &Record) -> KafkaRecord {
    KafkaRecord {
        key: Some(record.key.clone().into_bytes()),
        value: Some(record.value.to_vec()),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), value.to_vec())).collect(),
        timestamp: DateTime::from_timestamp_millis(record.timestamp_ms).unwrap_or_default(),
    }
}

pub(super) fn from_kafka(stored: RecordAndOffset) -> Stored {
    let KafkaRecord { key, value, headers, timestamp } = stored.record;
    let key = String::from_utf8(key.unwrap_or_default())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Stored {
        offset: stored.offset,
        record: Arc::new(Record {
            key,
            headers: headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect(),
            value: Bytes::from(value.unwrap_or_default()),
            timestamp_ms: timestamp.timestamp_millis(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_foreign_producers_leave_out_is_empty() {
        let record = KafkaRecord { key: None, value: None, headers: BTreeMap::new(), timestamp: DateTime::UNIX_EPOCH };
        let read = from_kafka(RecordAndOffset { record: record.clone(), offset: 3 });
        assert_eq!((read.offset, read.record.key.as_str(), read.record.value.len()), (3, "", 0));
        let read =
            from_kafka(RecordAndOffset { record: KafkaRecord { key: Some(vec![b'a', 0xff]), ..record }, offset: 0 });
        assert_eq!(read.record.key, "a\u{fffd}");
    }
}
