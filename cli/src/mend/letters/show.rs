//! Looking at dead letters.

use super::super::{Store, attach, meant};
use super::find::{self, Line, Which};
use crate::args::{GlobalArgs, LettersListArgs, LettersShowArgs, roles_of};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use event_store::Letter;
use serde::Serialize;
use std::collections::BTreeMap;

pub(super) async fn list(global: &GlobalArgs, args: &LettersListArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let which = Which {
        consumer: args.consumer.as_deref(),
        key: args.key.as_deref(),
        parked: args.parked,
        limit: i64::from(args.limit),
    };
    let stores: Vec<Store> = roles_of(&args.roles).into_iter().map(|role| Store::open(&server, role)).collect();
    if let Some(consumer) = &args.consumer {
        must_be_known(&stores, consumer).await?;
    }
    let mut lines = Vec::new();
    for store in &stores {
        lines.extend(find::list(store, &which).await?.iter().map(|found| Line::of(store, found)));
    }
    output::rows(global.output, &lines)?;
    Ok(Code::Done)
}

/// A name that nobody has would look as if all were well.
async fn must_be_known(stores: &[Store], consumer: &str) -> anyhow::Result<()> {
    let mut known = Vec::new();
    for store in stores {
        known.extend(store.consumers().await?);
    }
    if known.iter().any(|known| known == consumer) {
        return Ok(());
    }
    let meant = meant(consumer, known.iter().map(String::as_str));
    Err(Failure::new(Code::Usage, format!("there is no consumer {consumer}{meant}")).into())
}

pub(super) async fn show(global: &GlobalArgs, args: &LettersShowArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let store = Store::open(&server, args.role);
    let (_, letter, of_key) = find::letter(&store, &args.letter, args.consumer.as_deref()).await?;
    let behind = of_key.iter().filter(|other| other.letter.parked && other.letter.offset > letter.letter.offset);
    output::one(global.output, &Whole::of(&letter, behind.map(|other| other.letter.offset).collect()))?;
    Ok(Code::Done)
}

/// A letter with all that it holds.
#[derive(Serialize)]
struct Whole {
    consumer: String,
    topic: String,
    partition: i32,
    offset: i64,
    key: String,
    reason: String,
    parked: bool,
    attempts: i32,
    edits: i32,
    headers: BTreeMap<String, String>,
    /// What is no text is shown as far as it is.
    value: String,
    followers: Vec<i64>,
}

impl Whole {
    fn of(letter: &Letter, followers: Vec<i64>) -> Self {
        let Letter { letter, attempts, revision } = letter;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            consumer: letter.consumer.clone(),
            topic: letter.partition.topic.to_string(),
            partition: letter.partition.partition,
            offset: letter.offset,
            key: letter.record.key.clone(),
            reason: letter.reason.clone(),
            parked: letter.parked,
            attempts: *attempts,
            edits: *revision,
            headers: letter.record.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            value: text(&letter.record.value),
            followers,
        }
    }
}

impl Row for Whole {
    const COLUMNS: &'static [&'static str] = &[
        "consumer",
        "topic",
        "partition",
        "offset",
        "key",
        "reason",
        "waits",
        "attempts",
        "edits",
        "headers",
        "value",
        "behind it",
    ];

    fn cells(&self) -> Vec<String> {
        let headers: Vec<String> = self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let behind: Vec<String> = self.followers.iter().map(i64::to_string).collect();
        vec![
            self.consumer.clone(),
            self.topic.clone(),
            self.partition.to_string(),
            self.offset.to_string(),
            self.key.clone(),
            self.reason.clone(),
            if self.parked { "yes" } else { "no" }.to_owned(),
            self.attempts.to_string(),
            self.edits.to_string(),
            headers.join("\n"),
            self.value.clone(),
            behind.join(" "),
        ]
    }
}
