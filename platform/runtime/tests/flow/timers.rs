//! Durable timers: they outlive the process that set them, and fire once.

use std::sync::Arc;

use broker::Record;
use chrono::{DateTime, TimeDelta, Utc};
use event_store::{Operation, clock};
use runtime::Timer;
use runtime::timers::Timers;
use testkit::eventually;

use crate::fixture::{Kind, PATIENCE, Process, Service, Topic, commands, message, origin, record};
use crate::tally::{Command, Follows, NUMBER_ADDED, NumberAdded, Tally};

fn reminder(id: &str, at: DateTime<Utc>) -> Record {
    let data = NumberAdded { number: 0, remind_at: Some(at) };
    record(id, NUMBER_ADDED, &serde_json::to_string(&data).expect("JSON"))
}

fn timers(service: &Service) -> Process {
    let timers = Timers::new("test", service.store(), clock::system(), Arc::new(Follows::<true>));
    Process::spawn(|shutdown| tokio::spawn(timers.run(shutdown)))
}

async fn pending(service: &Service) -> Vec<String> {
    let ids = sqlx::query_scalar("SELECT aggregate_id FROM timers ORDER BY aggregate_id");
    ids.fetch_all(&service.database.pool).await.expect("timers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_outlives_the_process_that_set_it_and_fires_once() {
    let topic = Topic::on(Kind::Memory).await.expect("memory");
    let service = Service::new().await;
    let soon = clock::system().now() + TimeDelta::milliseconds(300);
    let late = clock::system().now() + TimeDelta::hours(1);
    let ids: Vec<String> = (0..20).map(|n| format!("soon-{n:02}")).collect();
    let before = timers(&service);
    let consumer = Process::consumer::<true>(service.store(), &topic);
    topic.publish(ids.iter().map(|id| reminder(id, soon)).chain([reminder("late", late)])).await;
    // Killed before the moment comes, or just when it does.
    eventually(PATIENCE, async || service.consumed().await == 21).await;
    before.kill().await;
    consumer.kill().await;
    eventually(PATIENCE, async || clock::system().now() > soon).await;

    // Two processes at once: the stream's version decides who fires.
    let _after = [timers(&service), timers(&service)];
    eventually(PATIENCE, async || pending(&service).await == ["late"]).await;
    for id in &ids {
        let tally = service.tally(id).await;
        assert_eq!((tally.reminded, tally.remind_at), (1, None), "{id}");
    }
    assert_eq!(service.tally("late").await.reminded, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_was_moved_fires_at_the_later_moment() {
    let topic = Topic::on(Kind::Memory).await.expect("memory");
    let service = Service::new().await;
    let _timers = timers(&service);
    let _consumer = Process::consumer::<true>(service.store(), &topic);
    let late = clock::system().now() + TimeDelta::hours(1);
    let later = clock::system().now() + TimeDelta::milliseconds(200);
    topic.publish([reminder("moved", late), reminder("moved", later), message("moved", 7)]).await;
    eventually(PATIENCE, async || service.tally("moved").await.reminded == 1).await;
    assert!(clock::system().now() >= later);
    assert_eq!(pending(&service).await, [] as [String; 0]);
    assert_eq!(service.tally("moved").await.numbers, [7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_sets_and_clears_the_timer_with_its_events() {
    let service = Service::new().await;
    let commands = commands(service.store());
    let late = clock::system().now() + TimeDelta::hours(1);
    let run = async |number, timer: Option<Timer>| {
        let timer = |_: &Tally, _: &Tally| timer;
        let command = Command::Add(number);
        let operation = Operation { act: "added".to_owned(), target: serde_json::Value::Null, reason: None };
        let origin = origin();
        commands.operate::<Tally>("a", &origin, command, &operation, &|_, _| None, timer).await.expect("recorded")
    };
    assert_eq!(run(1, Some(Timer::Set(late))).await.sequence, 1);
    assert_eq!(pending(&service).await, ["a"]);
    assert_eq!(run(2, None).await.sequence, 2);
    assert_eq!(pending(&service).await, ["a"], "a command that says nothing of it leaves it");
    run(3, Some(Timer::Clear)).await;
    assert!(pending(&service).await.is_empty());
    assert_eq!(service.tally("a").await.numbers, [1, 2, 3]);
}
