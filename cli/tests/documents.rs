//! The OpenAPI documents in `docs/api`: those of today's services, and none that breaks its clients unannounced.
//!
//! `cargo run -- openapi --all docs/api` writes them anew.

use std::path::{Path, PathBuf};

use sagashop::openapi;
use sagashop::ports::Role;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api")
}

#[test]
fn the_documents_are_those_of_the_services() {
    let stale: Vec<_> = Role::ALL
        .into_iter()
        .filter(|role| {
            let committed = std::fs::read_to_string(openapi::path(&folder(), *role)).unwrap_or_default();
            committed != openapi::document(*role).expect("JSON")
        })
        .map(Role::name)
        .collect();
    assert!(stale.is_empty(), "docs/api is not up to date for {stale:?}: cargo run -- openapi --all docs/api");
}

/// `cargo run -- metrics --markdown > docs/metrics.md` writes it anew.
#[test]
fn the_metrics_are_those_that_the_program_declares() {
    let committed = std::fs::read_to_string(folder().join("../metrics.md")).unwrap_or_default();
    let stale = committed != sagashop::metrics::page();
    assert!(!stale, "docs/metrics.md is not up to date: cargo run -- metrics --markdown > docs/metrics.md");
}

#[test]
fn no_document_breaks_its_clients_without_a_new_version() {
    for role in Role::ALL {
        let broken = openapi::breaks(&folder(), role).expect("comparable");
        assert!(broken.is_empty(), "{} needs a new version:\n{}", role.title(), broken.join("\n"));
    }
}

/// `cargo run -- schemas write` writes them anew.
#[test]
fn the_schemas_the_topics_document_and_the_catalogue_are_those_of_the_program() {
    let root = folder().join("../..");
    let files = sagashop::schemas::files(&root.join("event-schemas"), &root.join("docs/event-catalogue.md"));
    let stale: Vec<_> = files
        .expect("generated")
        .into_iter()
        .filter(|(path, text)| std::fs::read_to_string(path).unwrap_or_default() != *text)
        .map(|(path, _)| path)
        .collect();
    assert!(stale.is_empty(), "not up to date: {stale:?}: cargo run -- schemas write");
}

#[test]
fn every_event_has_a_sample_of_each_version_that_is_read_today_and_no_file_is_left_over() {
    sagashop::schemas::samples().expect("each is there and read");
}

/// Histories of real runs: what was decided is what would be decided today.
#[test]
fn recorded_histories_are_decided_as_they_were() {
    let mut decided = 0;
    for file in sagashop::replay::history::files(&folder().join("../../event-schemas/histories")).expect("files") {
        let outcome =
            sagashop::replay::history::of_streams(&sagashop::replay::history::read(&file).expect("events"), None);
        assert!(outcome.differences.is_empty(), "{}: {:#?}", file.display(), outcome.differences);
        assert!(outcome.left_out.is_empty(), "{}: {:#?}", file.display(), outcome.left_out);
        assert!(outcome.decisions > 0, "{}", file.display());
        decided += outcome.decisions;
    }
    assert!(decided > 50, "{decided}");
}

/// What a command prints, its errors, and its exit code.
fn said(arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sagashop"));
    let output = command.args(arguments).env_remove("SAGASHOP_OUTPUT").output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let code = output.status.code().expect("it ended");
    format!("{}\n{}\nexit code {code}", text(&output.stdout), text(&output.stderr)).trim().to_owned()
}

#[test]
fn a_schema_break_is_refused_by_the_rules_that_it_breaks() {
    let before = tempfile::tempdir().expect("a folder");
    let folder = before.path().join("schemas");
    std::fs::create_dir(&folder).expect("made");
    // As it was committed, with what is not there any more, or not so.
    let committed = folder_of_events().join("schemas/order_created.v1.json");
    let mut schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(committed).expect("a schema")).expect("JSON");
    schema["properties"]["gift_wrap"] = serde_json::json!({ "type": "boolean" });
    schema["properties"]["payment_method"]["type"] = "integer".into();
    schema["required"].as_array_mut().expect("fields").retain(|field| field != "currency");
    let lost = serde_json::json!({ "const": "lost", "type": "string" });
    schema["$defs"]["OrderStatus"]["oneOf"].as_array_mut().expect("values").push(lost);
    std::fs::write(folder.join("order_created.v1.json"), schema.to_string()).expect("written");
    insta::assert_snapshot!(
        "schema_break",
        said(&["schemas", "check", "--against", before.path().to_str().expect("text")])
    );
    let json = said(&["schemas", "check", "--output", "jsonl", "--against", before.path().to_str().expect("text")]);
    assert!(json.contains(r#""rule":"field-removed""#), "{json}");
    let clean = said(&["schemas", "check"]);
    assert!(clean.ends_with("nothing breaks who reads them.\nexit code 0"), "{clean}");
}

#[test]
fn forms_are_listed_compared_and_named() {
    insta::assert_snapshot!("schemas_listed", said(&["schemas", "list", "stock_re"]));
    insta::assert_snapshot!("schemas_compared", said(&["schemas", "diff", "stock_restocked"]));
    insta::assert_snapshot!("schema_example", said(&["schemas", "show", "saga_started", "--example"]));
    insta::assert_snapshot!("schema_unknown", said(&["schemas", "show", "order_creatd"]));
    insta::assert_snapshot!("schema_version_unknown", said(&["schemas", "show", "order_created", "--version", "7"]));
    insta::assert_snapshot!("schemas_nowhere", said(&["schemas", "check", "--against", "/nowhere"]));
}

#[test]
fn histories_are_decided_again_by_the_command_line() {
    let histories = folder_of_events().join("histories");
    let history = histories.to_str().expect("text");
    let again = said(&["replay", "--what-if", "--history", history]);
    assert!(again.contains("0 would be others") && again.ends_with("exit code 0"), "{again}");
    insta::assert_snapshot!(
        "history_definition_unknown",
        said(&["replay", "--what-if", "--history", history, "--definition", "99"])
    );
    insta::assert_snapshot!(
        "history_of_users",
        said(&["replay", "--what-if", "--history", history, "--service", "user"])
    );
    insta::assert_snapshot!("replay_onto_a_live_topic", said(&["replay", "--to", "log", "--topic", "order_events"]));
    insta::assert_snapshot!(
        "replay_without_kafka",
        said(&["replay", "--to", "kafka", "--topic", "new", "--kafka-broker", ""])
    );
}

fn folder_of_events() -> PathBuf {
    folder().join("../../event-schemas")
}
