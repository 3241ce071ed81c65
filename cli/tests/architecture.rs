//! Dependencies point down: which crate of the workspace may know which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const PLATFORM: [&str; 5] = ["broker", "event-store", "runtime", "telemetry", "web"];
const SERVICES: [&str; 6] =
    ["user-service", "product-service", "order-service", "payment-service", "notification-service", "psp-service"];

/// What a crate may know of the workspace; `None` for one that may know all.
fn allowed(name: &str) -> Option<BTreeSet<&'static str>> {
    let mut may: BTreeSet<&'static str> = BTreeSet::from(["kernel"]);
    match name {
        "kernel" | "proto" | "testkit" => may.clear(),
        "domain" | "event-schemas" => {}
        // Knows no business.
        "broker" | "event-store" | "runtime" | "telemetry" | "web" => may.extend(PLATFORM),
        // No service knows another service.
        name if SERVICES.contains(&name) => {
            may.extend(PLATFORM);
            may.extend(["domain", "event-schemas", "proto"]);
            if ["payment-service", "psp-service"].contains(&name) {
                may.insert("psp");
            }
        }
        // What a payment provider is asked and answers, and a bank for trying.
        "psp" => may.extend(PLATFORM),
        // No service's domain.
        "orchestrator" => {
            may.extend(PLATFORM);
            may.insert("event-schemas");
        }
        "sagashop" => return None,
        other => panic!("{other} is a new crate: say here what it may know"),
    }
    Some(may)
}

fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |package: &Value| package["name"].as_str().expect("name").to_owned();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    packages
        .iter()
        .map(|package| {
            let known = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                // Tests may use more: the testkit, and peers to talk to.
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(name)
                .filter(|dependency| members.contains(dependency))
                .collect();
            (name(package), known)
        })
        .collect()
}

#[test]
fn dependencies_point_down() {
    let mut wrong = Vec::new();
    for (name, known) in workspace() {
        let Some(may) = allowed(&name) else { continue };
        wrong.extend(
            known.iter().filter(|other| !may.contains(other.as_str())).map(|other| format!("{name} knows {other}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}

/// Neither the domain nor what it stands on does IO.
#[test]
fn the_domain_is_pure() {
    const IO: [&str; 7] = ["tokio", "sqlx", "poem", "poem-openapi", "tonic", "rskafka", "reqwest"];
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for package in metadata["packages"].as_array().expect("packages") {
        if !["domain", "kernel", "event-schemas"].contains(&package["name"].as_str().expect("name")) {
            continue;
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("name");
            assert!(!IO.contains(&name), "{} knows {name}", package["name"]);
        }
    }
}

/// Effects need a `kernel::Live`. Whoever makes one is listed here; whatever reads history again is not, and does not know
/// the type at all.
#[test]
fn who_may_have_effects_is_listed_and_replays_are_not() {
    const LISTED: [&str; 4] =
        ["cli/src/bench.rs", "cli/src/mend.rs", "platform/runtime/src/service.rs", "services/user/src/offline.rs"];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    for folder in ["cli/src", "domain", "event-schemas/src", "orchestrator/src", "platform", "psp/src", "services"] {
        rust_files(&root.join(folder), &mut sources);
    }
    let (mut makes, mut replays) = (BTreeSet::new(), 0);
    for path in sources {
        let name = path.strip_prefix(&root).expect("below it").display().to_string();
        if name.contains("/tests/") || name.contains("/examples/") || name == "domain/kernel/src/live.rs" {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        if text.contains("Live::because") {
            makes.insert(name.clone());
        }
        if name.starts_with("cli/src/replay") || name.starts_with("cli/src/schemas") {
            replays += 1;
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            assert_eq!(code.filter(|line| line.contains("Live")).collect::<Vec<_>>(), Vec::<&str>::new(), "{name}");
        }
    }
    assert_eq!(makes, LISTED.map(str::to_owned).into());
    assert!(replays > 5, "they are looked at");
}

fn rust_files(folder: &std::path::Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}
