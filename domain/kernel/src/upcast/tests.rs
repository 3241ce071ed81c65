use serde::Deserialize;
use serde_json::json;

use super::*;

/// Version 1 said grams, and not when.
struct InMilligrams;

#[derive(Deserialize)]
struct Weighed {
    grams: u64,
}

#[derive(Serialize)]
struct WeighedAt {
    milligrams: u64,
    at: DateTime<Utc>,
}

impl Upcast for InMilligrams {
    const EVENT_TYPE: &'static str = "weighed";
    const FROM: u32 = 1;
    type Old = Weighed;

    fn upcast(old: Weighed, context: &Context<'_>) -> Result<Vec<Form>, String> {
        let milligrams = old.grams.checked_mul(1_000).ok_or("too heavy")?;
        Ok(vec![Form::new("weighed", 2, &WeighedAt { milligrams, at: context.recorded_at })?])
    }
}

/// One event was two things, and the second of them was then called otherwise.
fn split(mut payload: Value, _: &Context<'_>) -> Result<Vec<Form>, String> {
    let kilograms = payload["packed_and_weighed"]["kilograms"].take();
    Ok(vec![
        Form::new("packed", 1, &json!({}))?,
        Form::new("weighed", 1, &json!({ "grams": kilograms.as_u64().ok_or("no weight")? * 1_000 }))?,
    ])
}

fn nothing(_: Value, _: &Context<'_>) -> Result<Vec<Form>, String> {
    Ok(Vec::new())
}

fn round(payload: Value, _: &Context<'_>) -> Result<Vec<Form>, String> {
    Ok(vec![Form { event_type: "circling".to_owned(), version: 1, payload }])
}

const UPCASTERS: &[Upcaster] = &[
    Upcaster::typed::<InMilligrams>(),
    Upcaster::raw("packed_and_weighed", 1, split),
    Upcaster::raw("sneezed", 1, nothing),
    Upcaster::raw("circling", 1, round),
];

fn read(event_type: &str, version: u32, content: Value) -> Result<Vec<Value>, UpcastError> {
    let context = Context { aggregate_id: "parcel", sequence: 3, recorded_at: DateTime::UNIX_EPOCH };
    upcast(UPCASTERS, Form::new(event_type, version, &content).unwrap(), &context)
}

#[test]
fn a_typed_form_becomes_the_next_with_what_is_known_from_its_place() {
    let today = json!({ "weighed": { "milligrams": 5_000, "at": "1970-01-01T00:00:00Z" } });
    assert_eq!(read("weighed", 1, json!({ "grams": 5 })), Ok(vec![today.clone()]));
    assert_eq!(read("weighed", 2, today["weighed"].clone()), Ok(vec![today]));
}

#[test]
fn one_becomes_several_which_go_on_from_where_they_are() {
    let today = read("packed_and_weighed", 1, json!({ "kilograms": 2 })).unwrap();
    let weighed = json!({ "weighed": { "milligrams": 2_000_000, "at": "1970-01-01T00:00:00Z" } });
    assert_eq!(today, [json!({ "packed": {} }), weighed]);
    assert_eq!(read("sneezed", 1, json!({})), Ok(Vec::new()));
}

#[test]
fn what_a_newer_program_wrote_is_not_guessed_at() {
    let unknown = |event_type: &str, version, known| {
        Err(UpcastError::Unknown { event_type: event_type.to_owned(), version, known })
    };
    assert_eq!(read("weighed", 3, json!({})), unknown("weighed", 3, 2));
    assert_eq!(read("packed", 2, json!({})), unknown("packed", 2, 1));
    assert_eq!(read("packed", 0, json!({})), unknown("packed", 0, 1));
}

#[test]
fn what_cannot_be_is_told() {
    let error = |read: Result<Vec<Value>, UpcastError>| read.unwrap_err().to_string();
    let unread = error(read("weighed", 1, json!({ "pounds": 5 })));
    assert!(unread.contains("weighed of version 1 means nothing today: missing field `grams`"), "{unread}");
    assert!(error(read("weighed", 1, json!({ "grams": u64::MAX }))).contains("too heavy"));
    assert!(error(read("circling", 1, json!({}))).contains("circle"));
}
