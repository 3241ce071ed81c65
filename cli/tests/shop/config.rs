//! The configuration of the real binary: which layer wins, what is shown, and what a production refuses.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::sagashop;

const STRONG: &str = "f2Vb7QxW0pK9sLdN4tYcR8mZ3aHjE6uG1oTiXy5B";
const MASTER_KEY: &str = "3q2+7wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw=";

/// A folder to work in, with this file in it.
fn folder(file: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("sagashop.toml"), file).expect("written");
    folder
}

fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command: Command = sagashop();
    command.current_dir(folder).args(arguments).envs(environment.iter().copied());
    command.output().expect("the binary starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `config show` says of a setting: its value and its source.
fn shown(folder: &Path, command: &[&str], environment: &[(&str, &str)], setting: &str) -> (Value, String) {
    let output = run(folder, &[&["config", "show", "--output", "json"], command].concat(), environment);
    assert!(output.status.success(), "{}", said(&output));
    let lines: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let line = lines.as_array().expect("a list").iter().find(|line| line["setting"] == setting);
    let line = line.unwrap_or_else(|| panic!("{setting} is not shown")).clone();
    (line["value"].clone(), line["source"].as_str().expect("text").to_owned())
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let folder = folder("[redis]\nport = 7001\n[serve.product]\nredis_port = 7002\n");
    let (folder, environment) = (folder.path(), [("REDIS_PORT", "7003")]);
    let of = |command: &[&str], environment: &[(&str, &str)]| {
        let (value, source) = shown(folder, command, environment, "redis_port");
        (value.as_str().expect("text").to_owned(), source)
    };
    assert_eq!(of(&["up", "--redis-port", "7004"], &environment), ("7004".to_owned(), "flag".to_owned()));
    assert_eq!(of(&["up"], &environment), ("7003".to_owned(), "environment".to_owned()));
    assert_eq!(of(&["up"], &[]), ("7001".to_owned(), "file sagashop.toml".to_owned()));
    assert_eq!(of(&["serve", "product"], &[]).0, "7002");
    assert_eq!(of(&["serve", "order"], &[]).0, "7001");
    let empty = tempfile::tempdir().expect("a folder");
    let (value, source) = shown(empty.path(), &["up"], &[], "redis_port");
    assert_eq!((value.as_str(), source.as_str()), (Some("6379"), "default"));
}

#[test]
fn secrets_are_never_shown() {
    let folder = folder("internal_token = 'hunter2 of the file'\n");
    let secret = folder.path().join("redis-password");
    std::fs::write(&secret, "hunter3 of a file\n").expect("written");
    let environment = [
        ("DATABASE_URL", "postgres://shop:hunter4@db.example/shop"),
        ("REDIS_PASSWORD_FILE", secret.to_str().expect("text")),
    ];
    for format in ["table", "json", "jsonl"] {
        let output = run(folder.path(), &["config", "show", "--output", format], &environment);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
        assert!(output.status.success() && !text.contains("hunter"), "{text}");
        assert!(text.contains("postgres://shop:********@db.example/shop"), "{text}");
    }
    let (value, source) = shown(folder.path(), &["up"], &environment, "redis_password");
    assert_eq!(value, "********");
    assert!(source.contains("REDIS_PASSWORD_FILE"), "{source}");
    let both = run(folder.path(), &["config", "show"], &[&environment[..], &[("REDIS_PASSWORD", "x")]].concat());
    assert_eq!(both.status.code(), Some(2));
    assert!(said(&both).contains("REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set"), "{}", said(&both));
}

#[test]
fn the_names_of_the_original_shop_are_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = [
        ("DB_HOST", "db"),
        ("DB_PORT", "5433"),
        ("DB_USER", "shop"),
        ("DB_PASSWORD", "x"),
        ("DB_NAME", "orders"),
        ("KAFKA_BROKER", "kafka:9092"),
        ("KAFKA_TOPIC", "order_events"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6380"),
        ("JAEGER_ENDPOINT", "http://jaeger:14268/api/traces"),
        ("PAYMENT_SUCCESS_RATE", "0.8"),
        ("PRODUCT_SERVICE_GRPC", "product-service:50052"),
    ];
    let output = run(folder.path(), &["config", "show", "--output", "json", "serve", "order"], &names);
    assert!(output.status.success(), "{}", said(&output));
    let lines: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (name, value) in names {
        let line = lines.as_array().expect("a list").iter().find(|line| line["variable"] == name);
        let line = line.unwrap_or_else(|| panic!("{name} is unknown"));
        assert_eq!(line["source"], "environment", "{name}");
        assert!(name == "DB_PASSWORD" || line["value"] == value, "{line}");
    }
}

#[test]
fn what_is_unknown_is_refused_with_what_was_perhaps_meant() {
    let folder = folder("[kafka]\nbrokr = 'a:9092'\n[payment]\nsuccess_rate = 7\n");
    for command in [&["config", "check"][..], &["config", "show"], &["up"], &["saga", "graph"]] {
        let output = run(folder.path(), command, &[]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {text}");
        assert!(text.contains("sagashop.toml: kafka.brokr is unknown: did you mean kafka_broker?"), "{text}");
        assert!(text.contains("payment.success_rate: invalid value '7'"), "{text}");
    }
    // Help is given all the same.
    assert!(run(folder.path(), &["--help"], &[]).status.success());

    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["config", "check"], &[("SAGASHOP_MOED", "production")]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("SAGASHOP_MOED is unknown: did you mean SAGASHOP_MODE?"), "{}", said(&output));
}

#[test]
fn a_production_without_its_secrets_does_not_start_and_names_all_faults_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let weak = [
        ("SAGASHOP_MODE", "production"),
        ("DB_HOST", "db.example"),
        ("DB_PASSWORD", "postgres"),
        ("INTERNAL_TOKEN", "changeme"),
        ("MASTER_KEY", "0000000000000000000000000000000000000000000000000000000000000000"),
    ];
    for command in [&["serve", "user"][..], &["config", "check", "serve", "user"], &["up"], &["config", "check", "up"]]
    {
        let output = run(folder.path(), command, &weak);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {text}");
        for expected in ["DB_PASSWORD: ", "INTERNAL_TOKEN: is weak", "MASTER_KEY: is weak"] {
            assert!(text.contains(expected), "{command:?} does not say {expected:?}: {text}");
        }
        assert!(!text.contains("changeme") && !text.contains("000000"), "it repeats a secret: {text}");
    }
    for line in [&["--mode", "production", "config", "check"][..], &["config", "check", "--mode", "production", "up"]] {
        let missing = run(folder.path(), line, &[]);
        let text = said(&missing);
        assert_eq!(missing.status.code(), Some(2), "{text}");
        assert!(text.contains("INTERNAL_TOKEN: is missing") && text.contains("DATABASE_URL: "), "{text}");
    }
}

#[test]
fn a_production_with_good_secrets_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let strong = [
        ("SAGASHOP_MODE", "production"),
        ("DATABASE_URL", "postgres://shop:Vq8zP1mX4c@db.example/shop"),
        ("INTERNAL_TOKEN", STRONG),
        ("MASTER_KEY", MASTER_KEY),
        ("PAYMENT_PROVIDER", "http"),
        ("PSP_SECRET", STRONG),
    ];
    for part in ["user", "product", "order", "payment", "notification", "orchestrator", "gateway"] {
        let output = run(folder.path(), &["config", "check", "serve", part], &strong);
        assert!(output.status.success(), "{part}: {}", said(&output));
    }
}
