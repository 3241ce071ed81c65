//! What was changed afterwards is found: by the chains, by the heads, and by an audit that goes on from a mark.

use super::{Scratch, names};
use crate::PATIENCE;
use crate::process::sagashop;
use sagashop::audit::Verdict;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

/// What a command said, and how it ended.
struct Said {
    code: Option<i32>,
    report: Value,
    stderr: String,
}

impl Said {
    /// Those of its checks that are violated, with what is named.
    fn violated(&self) -> Vec<String> {
        let checks = self.report["checks"].as_array().expect("checks").iter();
        let violated = checks.filter(|check| check["verdict"] == "violated");
        violated.map(|check| format!("{}: {}", check["name"].as_str().expect("a name"), check["ids"])).collect()
    }
}

async fn audit(data: &Path, arguments: &[&str]) -> Said {
    let mut command = sagashop();
    command.args(["audit", "--output", "json", "--data-dir"]).arg(data).args(arguments);
    let run = tokio::task::spawn_blocking(move || command.output().expect("the binary starts"));
    let output: Output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("no panic");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Said { code: output.status.code(), report, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// On a shop that was chained from its beginning: `bought` is an order of several events.
pub(super) async fn is_found(scratch: &Scratch, data: &Path, bought: &str) {
    let (heads, folder) = (data.join("heads.jsonl"), data);
    let heads = heads.to_str().expect("a path");
    let chain = async |more: &[&str]| audit(folder, &[&["--chain"], more].concat()).await;
    let whole = chain(&["--save-heads", heads]).await;
    assert_eq!((whole.code, whole.violated()), (Some(0), vec![]), "{}", whole.stderr);
    assert!(whole.report["checks"].as_array().expect("checks").iter().all(|check| check["checked"] != 0));
    assert_eq!(chain(&["--heads", heads]).await.code, Some(0));

    let stream = format!("aggregate_type = 'order' AND aggregate_id = '{bought}'");
    // By hand, one character.
    let changed = format!(
        "UPDATE events SET payload = replace(payload::text, '\"quantity\":2', '\"quantity\":3')::json
          WHERE {stream} AND sequence = 1"
    );
    scratch.execute("orderdb", &changed).await;
    let told = chain(&[]).await;
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    let named = format!("chains order: [\"order {bought}: event 1 is not the one that event 2 was chained to\"]");
    assert_eq!(told.violated(), [named]);
    scratch.restore("orderdb").await;

    // No chain sees what comes last.
    scratch.execute("orderdb", &format!("DELETE FROM events WHERE {stream} AND sequence = 2")).await;
    assert_eq!(chain(&[]).await.code, Some(0));
    let told = chain(&["--heads", heads]).await;
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.violated().concat().contains(&format!("order {bought}: event 2 is gone")), "{:?}", told.violated());
    scratch.restore("orderdb").await;

    // What is no file of heads is said, and the exit code is that of a wrong command line.
    assert_eq!(chain(&["--heads", "/dev/null"]).await.code, Some(2));
    assert_eq!(audit(folder, &["--heads", heads]).await.code, Some(2), "heads are of chains");
}

/// An audit that goes on from a mark sees what has happened since, and who went back.
pub(super) async fn goes_on_from_a_mark(scratch: &Scratch, data: &Path, bought: &str) {
    let mark = data.join("audit.mark");
    let arguments = ["--mark", mark.to_str().expect("a path")];
    assert_eq!(audit(data, &arguments).await.code, Some(0));
    let written = std::fs::read(&mark).expect("a mark");

    // Of old rows it knows nothing; looking at everything, it does.
    scratch.execute("orderdb", &format!("UPDATE orders SET status = 'cancelled' WHERE id = '{bought}'")).await;
    assert_eq!(audit(data, &arguments).await.code, Some(0));
    for since in ["-1s", "100000000"] {
        assert_eq!(audit(data, &["--since", since]).await.code, Some(0), "--since {since}");
    }
    for since in ["2020-01-01T00:00:00Z", "-1h", "0"] {
        let told = audit(data, &["--since", since]).await;
        assert_eq!(told.code, Some(1), "--since {since}: {}", told.stderr);
    }
    assert_eq!(names(&scratch.examine().await, Verdict::Violated), BTreeSet::from(["projection = fold"]));

    // An event since then: its stream is looked at whole.
    let again = format!(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT aggregate_type, aggregate_id, 3, event_type, event_version, payload, metadata
           FROM events WHERE aggregate_type = 'order' AND aggregate_id = '{bought}' AND sequence = 2"
    );
    scratch.execute("orderdb", &again).await;
    let told = audit(data, &arguments).await;
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.violated().concat().contains("one effect a command"), "{:?}", told.violated());
    scratch.restore("orderdb").await;

    let back =
        "UPDATE consumer_offsets SET next_offset = next_offset - 1 WHERE next_offset > 0 AND topic LIKE '%\\_commands'";
    scratch.execute("paymentdb", back).await;
    assert_eq!(names(&scratch.examine().await, Verdict::Violated), BTreeSet::new(), "it is within its bounds");
    let told = audit(data, &arguments).await;
    assert!(told.violated().concat().contains("stands at"), "{:?}", told.violated());
    scratch.restore("paymentdb").await;
    let now: Value = serde_json::from_slice(&std::fs::read(&mark).expect("a mark")).expect("JSON");
    let then: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(now["consumers"], then["consumers"], "a mark is written when everything holds");
    std::fs::write(&mark, "{}").expect("written");
    assert_eq!(audit(data, &arguments).await.code, Some(2), "no mark");
}
