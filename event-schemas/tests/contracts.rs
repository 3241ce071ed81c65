//! The messages against their samples and schemas. `UPDATE_SCHEMAS=1` writes the schemas.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use event_schemas::order::OrderConfirmed;
use event_schemas::{CATALOGUE, Entry, Published, topics};
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn file(folder_name: &str, entry: &Entry) -> PathBuf {
    folder(folder_name).join(format!("{}.v1.json", entry.name))
}

fn json_of(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_sample_is_read_and_written_again() {
    for entry in CATALOGUE {
        let sample = json_of(&file("samples", entry));
        assert_eq!(sample["event_type"], entry.name);
        assert_eq!((entry.understood)(&sample).unwrap(), sample, "{}", entry.name);
    }
}

#[test]
fn every_schema_is_as_written() {
    for entry in CATALOGUE {
        let (schema, path) = ((entry.schema)().to_value(), file("schemas", entry));
        if std::env::var_os("UPDATE_SCHEMAS").is_some_and(|set| set == "1") {
            fs::write(&path, format!("{schema:#}\n")).unwrap();
        }
        assert_eq!(json_of(&path), schema, "{}: run with UPDATE_SCHEMAS=1 if this change is meant", entry.name);
    }
}

#[test]
fn a_schema_requires_what_every_sample_has() {
    for entry in CATALOGUE {
        let (schema, sample) = ((entry.schema)().to_value(), json_of(&file("samples", entry)));
        for field in schema["required"].as_array().unwrap() {
            assert!(sample.get(field.as_str().unwrap()).is_some(), "{}: {field}", entry.name);
        }
        for field in sample.as_object().unwrap().keys() {
            assert!(schema["properties"].get(field).is_some(), "{}: {field}", entry.name);
        }
    }
}

#[test]
fn types_are_unique_topics_known_and_no_file_is_left_over() {
    let names: BTreeSet<String> = CATALOGUE.iter().map(|entry| format!("{}.v1.json", entry.name)).collect();
    assert_eq!(names.len(), CATALOGUE.len());
    assert!(CATALOGUE.iter().all(|entry| topics::ALL.contains(&entry.topic)));
    for folder_name in ["samples", "schemas"] {
        let files = fs::read_dir(folder(folder_name)).unwrap();
        let files: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(files, names, "{folder_name}");
    }
}

#[test]
fn a_reader_ignores_what_it_does_not_know_and_refuses_another_type() {
    let entry = Entry::named(OrderConfirmed::TYPE).unwrap();
    let sample = json_of(&file("samples", entry));

    let mut newer = sample.clone();
    newer["gift_wrap"] = json!(true);
    assert_eq!((entry.understood)(&newer).unwrap(), sample);

    let mut other = sample.clone();
    other["event_type"] = json!("order_cancelled");
    assert!((entry.understood)(&other).is_err());

    let mut missing = sample;
    missing.as_object_mut().unwrap().remove("total_price");
    assert!((entry.understood)(&missing).is_err());
}

#[test]
fn the_key_is_the_order_or_the_product() {
    let sample = json_of(&file("samples", Entry::named(OrderConfirmed::TYPE).unwrap()));
    let message = OrderConfirmed::from_json(sample.to_string().as_bytes()).unwrap();
    assert_eq!(message.key(), sample["order_id"].as_str().unwrap());
    assert_eq!(OrderConfirmed::TOPIC, topics::ORDER_EVENTS);
}
