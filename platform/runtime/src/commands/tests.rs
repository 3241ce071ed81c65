use event_store::{MemoryStore, clock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("full")]
struct Full;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Filled(u32);

impl Filled {
    fn event_type(&self) -> &'static str {
        "filled"
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// Holds ten; to fill in nothing is nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Jug(u32);

impl Jug {
    fn decide_command(&self, litres: u32) -> Result<Idempotent<Vec<Filled>>, Full> {
        match litres {
            0 => Ok(Idempotent::AlreadyDone),
            _ if self.0 + litres > 10 => Err(Full),
            _ => Ok(Idempotent::Executed(vec![Filled(litres)])),
        }
    }

    fn fold_event(&mut self, Filled(litres): Filled) {
        self.0 += litres;
    }
}

kernel::aggregate!(Jug, "jug", u32, Filled, Full);

fn commands() -> (Commands, Arc<MemoryStore>, Origin) {
    let store = Arc::new(MemoryStore::new(clock::system()));
    let origin = Origin::request(Uuid::now_v7(), Uuid::now_v7(), "system");
    (Commands::new(Arc::clone(&store) as Arc<dyn EventStore>, clock::system()), store, origin)
}

/// Answers with what is in the jug.
fn under(key: &str) -> impl Fn(&Jug, u64) -> Option<Answer> + Send + Sync {
    move |jug, sequence| {
        Some(Answer {
            scope: "ann".to_owned(),
            key: key.to_owned(),
            fingerprint: Vec::new(),
            status: 200,
            headers: Vec::new(),
            body: format!("{} at {sequence}", jug.0).into_bytes(),
        })
    }
}

async fn kept(store: &MemoryStore, key: &str) -> Option<String> {
    store.answer("ann", key).await.unwrap().map(|answer| String::from_utf8(answer.body).unwrap())
}

#[tokio::test]
async fn the_answer_is_made_of_the_state_after_the_decision() {
    let (commands, store, origin) = commands();
    commands.create_answered::<Jug>("a", &origin, 3, &under("first")).await.unwrap();
    assert_eq!(kept(&store, "first").await.as_deref(), Some("3 at 1"));
    // There is such a stream already: decided again on what it holds, and answered so.
    commands.create_answered::<Jug>("a", &origin, 4, &under("second")).await.unwrap();
    assert_eq!(kept(&store, "second").await.as_deref(), Some("7 at 2"));
    let refused = commands.execute_answered::<Jug>("a", &origin, 4, |_, _| Ok(()), &under("third")).await;
    assert!(matches!(refused, Err(Error::Denied(Full))));
    assert_eq!(kept(&store, "third").await, None, "a refusal is not kept");
}

#[tokio::test]
async fn what_had_been_done_is_answered_and_kept() {
    let (commands, store, origin) = commands();
    commands.create::<Jug>("a", &origin, 3).await.unwrap();
    let done = commands.execute_answered::<Jug>("a", &origin, 0, |_, _| Ok(()), &under("k")).await.unwrap();
    assert_eq!((done.sequence, done.cursor), (1, None));
    assert_eq!(kept(&store, "k").await.as_deref(), Some("3 at 1"));
}

#[tokio::test]
async fn under_a_key_that_has_an_answer_nothing_is_recorded() {
    let (commands, store, origin) = commands();
    commands.create_answered::<Jug>("a", &origin, 3, &under("k")).await.unwrap();
    let again = commands.create_answered::<Jug>("b", &origin, 3, &under("k")).await;
    assert!(matches!(again, Err(Error::Conflict)), "{again:?}");
    let nothing = commands.execute_answered::<Jug>("a", &origin, 0, |_, _| Ok(()), &under("k")).await;
    assert!(matches!(nothing, Err(Error::Conflict)), "{nothing:?}");
    let both = commands
        .execute_both_answered::<Jug, Jug, Full>(("c", 1), ("d", 1), &origin, |_, _| Ok(()), &|(jug, sequence), _| {
            under("k")(jug, sequence)
        })
        .await;
    assert!(matches!(both, Err(Error::Conflict)), "{both:?}");
    assert_eq!(store.read_after(Cursor::default(), 10).await.unwrap().events.len(), 1);
    commands
        .execute_both_answered::<Jug, Jug, Full>(("c", 1), ("d", 2), &origin, |_, _| Ok(()), &|_, (jug, sequence)| {
            under("l")(jug, sequence)
        })
        .await
        .unwrap();
    assert_eq!(kept(&store, "l").await.as_deref(), Some("2 at 1"));
}
