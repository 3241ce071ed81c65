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
