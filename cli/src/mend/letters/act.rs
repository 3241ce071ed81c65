//! Retrying, discarding and editing dead letters.

use super::super::{Store, attach, plural};
use super::find::{self, LETTERS_MAX, Which, letters};
use crate::args::{DiscardArgs, EditArgs, GlobalArgs, RetryArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use anyhow::Context;
use event_store::{Letter, LetterKey, Mend, Operation};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Read;

/// As much as a message may have.
const VALUE_BYTES_MAX: u64 = 1 << 20;

/// What an act does to a letter, as a line.
#[derive(Serialize)]
struct Line {
    act: &'static str,
    consumer: String,
    letter: String,
    key: String,
    reason: String,
}

impl Line {
    fn of(act: &'static str, letter: &Letter) -> Self {
        let place = &letter.letter.partition;
        Self {
            act,
            consumer: letter.letter.consumer.clone(),
            letter: format!("{}/{}/{}", place.topic, place.partition, letter.letter.offset),
            key: letter.letter.record.key.clone(),
            reason: letter.letter.reason.clone(),
        }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["act", "consumer", "letter", "key", "reason"];
    const DISPENSABLE: &'static [usize] = &[1];

    fn cells(&self) -> Vec<String> {
        let Self { act, consumer, letter, key, reason } = self;
        vec![(*act).to_owned(), consumer.clone(), letter.clone(), key.clone(), reason.clone()]
    }
}

pub(super) async fn retry(global: &GlobalArgs, args: &RetryArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let store = Store::open(&server, args.role);
    let reason = args.act.reason_given()?;
    let keys = keys(&store, args).await?;
    let mut lines = Vec::new();
    for key in &keys {
        let of_key = store.events().letters(key, LETTERS_MAX).await.map_err(|error| store.away(&error))?;
        lines.extend(of_key.iter().map(|letter| Line::of("retry", letter)));
    }
    output::rows(global.output, &lines)?;
    let question = format!("Handle {} of {} again?", letters(lines.len()), plural(keys.len(), "key", "keys"));
    if lines.is_empty() || !args.act.agreed(&question)? {
        return Ok(Code::Done);
    }
    for key in keys {
        let target = json!({ "consumer": key.consumer, "topic": key.topic, "key": key.key });
        let operation = Operation { act: "dead_letters_retried".to_owned(), target, reason: reason.clone() };
        store.act(vec![Mend::Retry(key)], operation, &args.act.actor()).await?;
    }
    let (title, name) = (store.role.title(), store.role.name());
    eprintln!("The {title} comes to them within seconds; what stays: sagashop dead-letters list {name}");
    Ok(Code::Done)
}

/// The keys that are meant, each once.
async fn keys(store: &Store, args: &RetryArgs) -> anyhow::Result<BTreeSet<LetterKey>> {
    let consumer = args.consumer.as_deref();
    let mut keys = BTreeSet::new();
    for place in &args.letters {
        keys.insert(find::letter(store, place, consumer).await?.0);
    }
    if args.letters.is_empty() {
        let limit = i64::try_from(LETTERS_MAX).unwrap_or(i64::MAX);
        let which = Which { consumer, key: args.key.as_deref(), parked: true, limit };
        keys.extend(find::list(store, &which).await?.iter().map(find::Found::of_key));
    }
    Ok(keys)
}

pub(super) async fn discard(global: &GlobalArgs, args: &DiscardArgs) -> anyhow::Result<Code> {
    let reason = args.act.reason_needed("discarding")?;
    let server = attach(global, &args.database).await?;
    let store = Store::open(&server, args.role);
    let (key, letter, of_key) = find::letter(&store, &args.letter, args.consumer.as_deref()).await?;
    let mut gone = vec![letter.clone()];
    let behind = of_key.into_iter().filter(|other| other.letter.parked && other.letter.offset > letter.letter.offset);
    let (followers, released): (Vec<Letter>, Vec<Letter>) = behind.partition(|_| args.followers);
    gone.extend(followers);
    // One that only waited leaves the dead one before it where it is.
    let releases = !letter.letter.parked && !released.is_empty();
    let mut lines: Vec<Line> = gone.iter().map(|letter| Line::of("discard", letter)).collect();
    lines.extend(released.iter().filter(|_| releases).map(|letter| Line::of("retry", letter)));
    output::rows(global.output, &lines)?;
    if !args.act.agreed(&format!("Give {} up for good?", letters(gone.len())))? {
        return Ok(Code::Done);
    }
    let mut mends: Vec<Mend> = gone.iter().map(|letter| Mend::Remove(letter.id())).collect();
    mends.extend(releases.then(|| Mend::Retry(key.clone())));
    let offsets: Vec<i64> = gone.iter().map(|letter| letter.letter.offset).collect();
    let target = json!({
        "consumer": key.consumer, "topic": key.topic, "key": key.key,
        "partition": letter.letter.partition.partition, "offsets": offsets,
        "sha256": digest(&letter.letter.record.value),
    });
    let operation = Operation { act: "dead_letter_discarded".to_owned(), target, reason: Some(reason) };
    store.act(mends, operation, &args.act.actor()).await?;
    Ok(Code::Done)
}

pub(super) async fn edit(global: &GlobalArgs, args: &EditArgs) -> anyhow::Result<Code> {
    let reason = args.act.reason_given()?;
    let value = value(args)?;
    let server = attach(global, &args.database).await?;
    let store = Store::open(&server, args.role);
    let (key, letter, _) = find::letter(&store, &args.letter, args.consumer.as_deref()).await?;
    output::rows(global.output, &[Line::of("edit", &letter)])?;
    if !args.act.agreed("Replace its value?")? {
        return Ok(Code::Done);
    }
    // Values may be personal, and events stay for ever: they are told apart, not told.
    let target = json!({
        "consumer": key.consumer, "topic": key.topic, "key": key.key,
        "partition": letter.letter.partition.partition, "offset": letter.letter.offset,
        "sha256_before": digest(&letter.letter.record.value), "sha256": digest(&value),
    });
    let operation = Operation { act: "dead_letter_edited".to_owned(), target, reason };
    store.act(vec![Mend::Edit { id: letter.id(), value }], operation, &args.act.actor()).await?;
    eprintln!("Have it handled again with: sagashop dead-letters retry {} {}", store.role.name(), args.letter);
    Ok(Code::Done)
}

/// The new value: a JSON document, as all messages are.
fn value(args: &EditArgs) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    match (&args.value, &args.file) {
        (Some(text), _) => value.extend_from_slice(text.as_bytes()),
        (None, Some(file)) if file.as_os_str() == "-" => {
            std::io::stdin().lock().take(VALUE_BYTES_MAX + 1).read_to_end(&mut value).context("standard input")?;
        }
        (None, Some(file)) => {
            let opened = std::fs::File::open(file).with_context(|| file.display().to_string())?;
            opened.take(VALUE_BYTES_MAX + 1).read_to_end(&mut value).with_context(|| file.display().to_string())?;
        }
        (None, None) => {}
    }
    let refuse = |message: String| Failure::new(Code::Usage, message);
    if value.len() as u64 > VALUE_BYTES_MAX {
        return Err(refuse(format!("the new value has more than {VALUE_BYTES_MAX} bytes")).into());
    }
    serde_json::from_slice::<serde_json::Value>(&value)
        .map_err(|error| refuse(format!("the new value is no JSON: {error}")))?;
    Ok(value)
}

fn digest(value: &[u8]) -> String {
    Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect()
}
