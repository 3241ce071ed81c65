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
