//! The OpenAPI documents in `docs/api`: those of today's services, and none that breaks its clients unannounced.
//!
//! `cargo run -- openapi --all docs/api` writes them anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sagashop::openapi::{self, Of};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api")
}

#[test]
fn the_documents_are_those_of_the_services() {
    let stale: Vec<_> = Of::ALL
        .into_iter()
        .filter(|of| {
            let committed = std::fs::read_to_string(openapi::path(&folder(), *of)).unwrap_or_default();
            committed != openapi::document(*of).expect("JSON")
        })
        .map(Of::name)
        .collect();
    assert!(stale.is_empty(), "docs/api is not up to date for {stale:?}: cargo run -- openapi --all docs/api");
}

/// What the page on the protocol promises of each request and of what it is answered, the document has, and no more.
#[test]
fn the_protocol_of_payment_providers_is_documented_as_it_is() {
    let document: serde_json::Value = serde_json::from_str(&openapi::document(Of::Psp).expect("JSON")).expect("JSON");
    let page = std::fs::read_to_string(folder().join("../psp-protocol.md")).expect("the page");
    let paths = document["paths"].as_object().expect("paths");
    let mut statuses = BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            let told = format!("`{} {path}", method.to_uppercase());
            assert!(page.contains(&told), "docs/psp-protocol.md does not tell of {told}");
            statuses.extend(operation["responses"].as_object().expect("answers").keys().cloned());
            let headers = operation["parameters"].as_array().expect("parameters").iter();
            let headers: Vec<_> =
                headers.filter(|one| one["in"] == "header").filter_map(|one| one["name"].as_str()).collect();
            for header in ["Sagashop-Signature", "Sagashop-Nonce"] {
                assert!(
                    headers.iter().any(|name| name.eq_ignore_ascii_case(header)),
                    "{told}: {header} of {headers:?}"
                );
            }
        }
    }
    for told in page.lines().filter(|line| line.starts_with("| `POST /v1") || line.starts_with("| `GET /v1")) {
        let path = told.split(['`', '?', ' ']).nth(3).expect("a path");
        assert!(paths.contains_key(path), "{told}: of {:?}", paths.keys());
    }
    // The rows of the table of answers.
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let told: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split([',', ' ']))
        .filter(|word| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect();
    let untold: Vec<_> = told.difference(&statuses).collect();
    assert!(untold.is_empty(), "told, and not in the document: {untold:?}");
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
    for of in Of::ALL {
        let broken = openapi::breaks(&folder(), of).expect("comparable");
        assert!(broken.is_empty(), "{} needs a new version:\n{}", of.title(), broken.join("\n"));
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
    let events = folder_of_events();
    let events = events.to_str().expect("text");
    let json = said(&["schemas", "check", "--output", "jsonl", "--against", before.path().to_str().expect("text")]);
    assert!(json.contains(r#""rule":"field-removed""#), "{json}");
    // A changed copy, as if it were of the next program.
    let copy = said(&["schemas", "check", "--against", before.path().to_str().expect("text"), "--of", events]);
    assert!(copy.contains("order_created        1  required-added  backward  currency"), "{copy}");
    assert!(copy.ends_with("exit code 1"), "{copy}");
    let clean = said(&["schemas", "check", "--of", events]);
    assert!(clean.ends_with("nothing breaks who reads them.\nexit code 0"), "{clean}");
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
