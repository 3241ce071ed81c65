//! The forms that lie in a folder, as if they were those of a program.

use super::catalogue::{self, Described, What};
use super::check::{Committed, event_of};
use serde_json::Value;
use std::collections::BTreeMap;

/// The latest version of each event of the folder. What this program has and the folder has not is left out.
pub(super) fn latest(folder: &Committed) -> Vec<Described> {
    let mut latest: BTreeMap<String, (u32, &String, &Value)> = BTreeMap::new();
    for (file, schema) in &folder.schemas {
        let Some((name, version)) = event_of(file) else { continue };
        let held = latest.entry(name).or_insert((version, file, schema));
        if held.0 <= version {
            *held = (version, file, schema);
        }
    }
    let today = catalogue::today();
    let described = |(name, (version, file, schema)): (String, (u32, &String, &Value))| Described {
        what: today.iter().find(|event| event.name == name).map_or_else(|| foreign(file), |event| event.what.clone()),
        is_current: true,
        schema: schema.clone(),
        name,
        version,
    };
    latest.into_iter().map(described).collect()
}

/// Of an event that this program does not know.
fn foreign(file: &str) -> What {
    match file.starts_with("stored/") {
        true => What::Stored { service: "", aggregate: "" },
        false => What::Published { topic: "", key: "" },
    }
}
