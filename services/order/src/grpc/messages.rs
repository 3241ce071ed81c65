//! What stands in messages, and how it is read.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use domain::order::Placed;
use proto::order::{Order, OrderEvent, OrderLine};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::error::Error;
use crate::timeline::Happening;

/// A field of proto3 that was set.
pub(super) fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn uuid(field: &str, text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::invalid(field, "is not a UUID"))
}

pub(super) fn moment(field: &str, text: &str) -> Result<DateTime<Utc>, Error> {
    let moment = DateTime::parse_from_rfc3339(text).map_err(|_| Error::invalid(field, "is not an RFC 3339 time"));
    moment.map(|moment| moment.with_timezone(&Utc))
}

/// How long the caller waits for an answer: the metadata `grpc-timeout`, up to eight digits and a unit.
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&number.len()) || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The order as a message.
pub(super) fn order(order: &Placed) -> Order {
    let line = |line: &domain::order::OrderLine| OrderLine {
        product_id: line.product_id.to_string(),
        quantity: line.quantity.into(),
        unit_price: line.unit_price.to_decimal(),
    };
    let lines = order.lines.iter().map(line).collect::<Vec<_>>();
    let first = lines.first().cloned().unwrap_or_default();
    Order {
        id: order.order_id.to_string(),
        user_id: order.user_id.to_string(),
        product_id: first.product_id,
        quantity: first.quantity,
        status: order.status.as_str().to_owned(),
        total_price: order.total.to_decimal(),
        currency: order.total.currency.code().to_owned(),
        lines,
        address_id: order.address_id.map(|address| address.to_string()).unwrap_or_default(),
        payment_method: order.payment_method.as_str().to_owned(),
        cancel_requested: order.cancellation_requested,
        cancel_reason: order.cancel_reason.as_ref().map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        created_at: written(order.placed_at),
        updated_at: written(order.updated_at),
    }
}

impl From<Happening> for OrderEvent {
    fn from(happening: Happening) -> Self {
        let Happening { sequence, at, event, text, status, actor } = happening;
        Self { sequence, at: written(at), event, text, status: status.as_str().to_owned(), actor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_with_their_unit() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            timeout(&metadata)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!((read("20m"), read("7u")), (Some(Duration::from_millis(20)), Some(Duration::from_micros(7))));
        for text in ["", "5", "S", "5s", "-1S", "1.5S", "123456789S", "S5"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(timeout(&MetadataMap::new()), None);
    }
}
