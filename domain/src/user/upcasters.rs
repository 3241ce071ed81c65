//! How earlier forms of the events of users are read.
//!
//! Version 1 of two of them held name and address in the clear. Read today they say neither, as if the key that seals
//! them were gone: what is personal is not carried on into what is made of the events.

use kernel::upcast::{Context, Form, Upcaster};
use serde_json::Value;

pub(super) const ALL: &[Upcaster] = &[
    Upcaster::raw("user_registered", 1, |payload, _: &Context<'_>| {
        without(payload, "user_registered", &["name", "email"])
    }),
    Upcaster::raw("name_changed", 1, |payload, _: &Context<'_>| without(payload, "name_changed", &["name"])),
];

/// The second form: the first without what stood there in the clear.
fn without(mut payload: Value, event_type: &str, fields: &[&str]) -> Result<Vec<Form>, String> {
    let content = payload.get_mut(event_type).and_then(Value::as_object_mut).ok_or("it is not tagged with its type")?;
    for field in fields {
        content.insert((*field).to_owned(), Value::String(String::new()));
    }
    Ok(vec![Form { event_type: event_type.to_owned(), version: 2, payload }])
}
