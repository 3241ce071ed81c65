//! Event stores that are taken elsewhere: exported, imported, moved to another server.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use sagashop::ports::Role;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use testkit::eventually;

use crate::folder::Folder;
use crate::process::{Process, sagashop};
use crate::restored::{busy_shop, buys, contents, copy_secrets, restore_check, start, stop};
use crate::up::{Up, settled};
use crate::{PATIENCE, room_for_a_small_shop};

async fn run(data: &Path, arguments: &[&str]) -> Output {
    let mut command = sagashop();
    command.arg("events").args(arguments).arg("--data-dir").arg(data);
    tokio::task::spawn_blocking(move || command.output().expect("the binary starts")).await.expect("no panic")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command gives as JSON, which must have succeeded.
async fn done(data: &Path, arguments: &[&str]) -> Value {
    let output = run(data, &[arguments, &["--output", "json"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// A command is refused, and says why.
async fn refused(data: &Path, arguments: &[&str], code: i32, text: &str) {
    let output = run(data, arguments).await;
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    assert!(said(&output).contains(text), "{arguments:?}: {}", said(&output));
}

fn file(folder: &Path, role: Role, ending: &str) -> Vec<u8> {
    std::fs::read(folder.join(format!("{}.jsonl{ending}", role.name()))).expect("an export")
}

fn all(folder: &Path, ending: &str) -> Vec<Vec<u8>> {
    Role::ALL.into_iter().map(|role| file(folder, role, ending)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_was_imported_is_exported_as_the_same_lines() {
    let _room = room_for_a_small_shop().await;
    let mut shop = Up::start(&["--empty"]).await;
    let lamp = shop.product(&shop.admin().await, "Lamp", "19.90", 100).await;
    for customer in ["one", "two"] {
        buys(&shop, customer, &lamp).await;
    }
    settled(&shop.folder).await;
    stop(&mut shop).await;
    let data = shop.folder.data();
    let folder = |name: &str| shop.folder.path().join(name);
    let text = |name: &str| folder(name).to_str().expect("text").to_owned();

    // Of a shop that does not run.
    let (plain, packed) = (text("plain"), text("packed"));
    let lines = done(&data, &["export", "--to", &plain]).await;
    done(&data, &["export", "--to", &packed, "--zstd"]).await;
    for (role, line) in Role::ALL.into_iter().zip(lines.as_array().expect("a list")) {
        let lines = file(&folder("plain"), role, "");
        assert_eq!(line["events"], lines.iter().filter(|byte| **byte == b'\n').count(), "{line}");
        assert_eq!(zstd::decode_all(file(&folder("packed"), role, ".zst").as_slice()).expect("zstd"), lines);
        let first = lines.split(|byte| *byte == b'\n').next().expect("a line");
        let first: Value = serde_json::from_slice(first).expect("JSON");
        assert_eq!((&first["specversion"], &first["source"]), (&json!("1.0"), &json!(role.name())));
    }

    // However a run was ended: the next one completes it.
    let whole = (all(&folder("plain"), ""), all(&folder("packed"), ".zst"));
    for share in [0, 3, 50, 99] {
        for (name, role, ending) in [("plain", Role::Order, ""), ("packed", Role::Orchestrator, ".zst")] {
            let path = folder(name).join(format!("{}.jsonl{ending}", role.name()));
            let cut = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
            cut.set_len(file(&folder(name), role, ending).len() as u64 * share / 100).expect("cut");
        }
        done(&data, &["export", "--to", &plain]).await;
        done(&data, &["export", "--to", &packed, "--zstd"]).await;
        assert!((all(&folder("plain"), ""), all(&folder("packed"), ".zst")) == whole, "cut at {share} %");
    }
    let again = done(&data, &["export", "--to", &plain, "--service", "order"]).await;
    assert_eq!(again[0]["added"], 0);

    // Into another cluster, which is made for it.
    let other = Folder::new();
    let dry = done(&other.data(), &["import", "--from", &plain, "--dry-run"]).await;
    assert!(!other.data().exists(), "a dry run makes nothing");
    let imported = done(&other.data(), &["import", "--from", &packed, "--yes"]).await;
    for n in 0..Role::ALL.len() {
        assert_eq!(imported[n]["events"], lines[n]["events"]);
        assert_eq!((&imported[n]["events"], &imported[n]["streams"]), (&dry[n]["events"], &dry[n]["streams"]));
    }
    done(&other.data(), &["export", "--to", &text("again")]).await;
    assert!(all(&folder("again"), "") == whole.0, "exported again, the lines are others");

    refusals(&data, &other, &folder("bad"), &plain).await;

    let server = start(&other).await;
    let published = other.query(Role::Order, "SELECT follower, position FROM checkpoints").await;
    assert_eq!(published, json!([{ "follower": "relay", "position": lines[2]["events"] }]));
    server.stop().await.expect("stops");
}

async fn refusals(data: &Path, other: &Folder, bad: &Path, plain: &str) {
    let there = other.data();
    let again = done(&there, &["import", "--from", plain, "--yes"]).await;
    assert!(again.as_array().is_some_and(|lines| lines.iter().all(|line| line["added"] == 0)), "{again}");
    refused(data, &["import", "--from", plain, "--yes"], 4, "needs a store that has none").await;
    refused(&there, &["import", "--from", plain], 2, "--yes").await;
    refused(&there, &["import", "--from", "nowhere", "--yes"], 4, "no file of an export").await;
    refused(&there, &["import", "--from", "-", "--yes"], 2, "--service").await;
    refused(data, &["export", "--to", "-"], 2, "--service").await;
    let nowhere = Folder::new();
    refused(&nowhere.data(), &["export", "--to", plain], 6, "there is no shop").await;
    assert!(!nowhere.data().exists(), "nothing is made");

    // Lines that are no export of the order service, or not all of it.
    std::fs::create_dir_all(bad).expect("a folder");
    let orders = std::fs::read_to_string(Path::new(plain).join("order.jsonl")).expect("an export");
    let payments = std::fs::read_to_string(Path::new(plain).join("payment.jsonl")).expect("an export");
    let first = orders.lines().next().expect("a line");
    let path = bad.join("order.jsonl");
    let bad = bad.to_str().expect("text");
    let fresh = Folder::new();
    for (content, text) in [
        (orders[..orders.len() - 10].to_owned(), "the export ends within it"),
        (payments, "line 1 is not accepted"),
        (format!("{orders}{first}\n"), "an event is there twice"),
        (orders.replacen(&format!("{first}\n"), "", 1), "does not follow"),
        (orders.replacen("\"subject\":\"order/", "\"subject\":\"payment/", 1), "has no payment"),
    ] {
        std::fs::write(&path, content).expect("written");
        refused(&fresh.data(), &["import", "--from", bad, "--yes"], 4, text).await;
    }
    // None of them left anything.
    std::fs::write(&path, &orders).expect("written");
    done(&fresh.data(), &["import", "--from", bad, "--yes", "--publish"]).await;
    let server = start(&fresh).await;
    assert_eq!(fresh.count(Role::Order, "checkpoints").await, 0);
    server.stop().await.expect("stops");
    // An export of another store is not written over.
    std::fs::write(&path, orders.replacen("\"actor\":\"", "\"actor\":\"x", usize::MAX)).expect("written");
    refused(data, &["export", "--service", "order", "--to", bad], 4, "an export of another store").await;
}

/// An export of so many events, by an order's own lines and others that differ from them by their ids alone.
fn grown(lines: &str, events: usize) -> String {
    let mut grown = String::new();
    let subject = |line: &str| -> String {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["subject"].as_str().expect("text").strip_prefix("order/").expect("an order").to_owned()
    };
    let order = subject(lines.lines().next().expect("a line"));
    let story: Vec<&str> = lines.lines().filter(|line| subject(line) == order).collect();
    for n in 0..events.div_ceil(story.len()) {
        let another = uuid::Uuid::from_u128(n as u128).to_string();
        for line in &story {
            grown += &line.replace(&order, &another);
            grown.push('\n');
        }
    }
    grown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    let _room = room_for_a_small_shop().await;
    let mut shop = Up::start(&["--empty"]).await;
    let lamp = shop.product(&shop.admin().await, "Lamp", "19.90", 100).await;
    buys(&shop, "one", &lamp).await;
    settled(&shop.folder).await;
    stop(&mut shop).await;
    let text = |name: &str| shop.folder.path().join(name).to_str().expect("text").to_owned();
    let (small, large, again) = (text("small"), text("large"), text("again"));
    done(&shop.folder.data(), &["export", "--to", &small, "--service", "order"]).await;
    let lines = std::fs::read_to_string(Path::new(&small).join("order.jsonl")).expect("an export");
    let lines = grown(&lines, 100_000);
    std::fs::create_dir(&large).expect("made");
    std::fs::write(Path::new(&large).join("order.jsonl"), &lines).expect("written");
    let events = i64::try_from(lines.lines().count()).expect("few");

    let new = Arc::new(Folder::new());
    let server = start(&new).await;
    let data = new.data().to_str().expect("text").to_owned();
    let import = ["events", "import", "--from", &large, "--yes", "--data-dir", &data];
    let process = Process::start(new.path(), "import", import, &[]);
    eventually(PATIENCE, async || {
        let options = server.options(Role::Order.database());
        let Ok(mut connection) = PgConnection::connect_with(&options).await else { return false };
        let there = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM checkpoints WHERE follower = 'import'");
        there.fetch_one(&mut connection).await.is_ok_and(|there| there == 1)
    })
    .await;
    process.kill();
    let others = "pg_stat_activity WHERE datname = current_database() AND application_name = 'sagashop-restore-check'";
    eventually(PATIENCE, async || new.count(Role::Order, others).await == 0).await;
    let there = new.count(Role::Order, "events").await;
    assert!(0 < there && there < events, "killed in the middle: {there} of {events}");
    let place = new.query(Role::Order, "SELECT position FROM checkpoints WHERE follower = 'import'").await;
    assert_eq!(place[0]["position"], there);

    // Nothing takes a part of it for all, and nothing but the rest of it comes behind it.
    let mut migrate = sagashop();
    migrate.args(["migrate", "order", "--data-dir", &data]);
    let migrated = tokio::task::spawn_blocking(move || migrate.output().expect("it starts")).await.expect("no panic");
    assert_eq!(migrated.status.code(), Some(4), "{}", said(&migrated));
    assert!(said(&migrated).contains("sagashop events import"), "{}", said(&migrated));
    refused(&new.data(), &["import", "--from", &small, "--yes"], 4, "of another export").await;
    assert_eq!(new.count(Role::Order, "events").await, there);

    let rest = done(&new.data(), &["import", "--from", &large, "--yes"]).await;
    assert_eq!((&rest[0]["events"], &rest[0]["added"]), (&json!(events), &json!(events - there)));
    let followers = new.query(Role::Order, "SELECT follower, position FROM checkpoints").await;
    assert_eq!(followers, json!([{ "follower": "relay", "position": events }]));
    done(&new.data(), &["export", "--to", &again, "--service", "order"]).await;
    assert!(file(Path::new(&again), Role::Order, "") == lines.as_bytes(), "exported again, the lines are others");
    server.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_shop_goes_on_on_another_server() {
    let _room = room_for_a_small_shop().await;
    let (old, product) = busy_shop().await;
    let data = old.folder.data();
    let before = contents(&old.folder).await;
    let new = Folder::new();
    copy_secrets(&data, &new.data());
    let server = start(&new).await;
    let options = server.options("postgres");
    let socket = options.get_socket().expect("a private cluster");
    let to = format!("postgres://postgres@localhost:{}/postgres?host={}", options.get_port(), socket.display());

    let dry = done(&data, &["copy", "--to", &to, "--dry-run"]).await;
    assert_eq!(dry.as_array().map(Vec::len), Some(Role::ALL.len()));
    refused(&data, &["copy", "--to", &to], 2, "--yes").await;
    refused(&data, &["copy", "--to", "mysql://x", "--yes"], 2, "postgres://").await;
    {
        let running = start(&old.folder).await;
        let somebody = PgConnection::connect_with(&running.options(Role::Order.database())).await.expect("connected");
        refused(&data, &["copy", "--to", &to, "--yes"], 5, "is in use").await;
        somebody.close().await.expect("closed");
        running.stop().await.expect("stops");
    }
    let copied = done(&data, &["copy", "--to", &to, "--yes"]).await;
    let copied = copied.as_array().expect("a list");
    assert_eq!(copied.last().expect("some")["database"], "brokerdb");
    for (dry, copied) in dry.as_array().expect("a list").iter().zip(copied) {
        assert_eq!(dry["events"], copied["events"]);
    }
    refused(&data, &["copy", "--to", &to, "--yes"], 4, "is not empty").await;
    server.stop().await.expect("stops");
    drop(old);

    assert!(contents(&new).await == before, "the copy's streams are others");
    let new = Arc::new(new);
    restore_check(new.data(), &[]).await.is_clean();
    // What was in the midst of its way ends, and what is new goes its way.
    let shop = Up::start_in(new, &["--empty"]).await;
    buys(&shop, "newcomer", &product).await;
    shop.assert_clean().await;
}
