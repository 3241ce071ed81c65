//! What the help of the commands ends with, and what holds for the help of all of them.

pub(super) const UP: &str = "\
Examples:
  sagashop up
  sagashop up --port-offset 100 --data-dir /tmp/shop --empty
  sagashop up --kafka-broker localhost:9092 --redis-host localhost
  sagashop up --hash-chain --audit-every 1h";

pub(super) const SERVE: &str = "\
Examples:
  sagashop serve order --database-url postgres://shop@db:5432/postgres --kafka-broker kafka:9092
  sagashop serve gateway --http-port 8000
  sagashop serve orchestrator --admin-port 9085 --audit-every 1h";

pub(super) const MIGRATE: &str = "\
Examples:
  sagashop migrate
  sagashop migrate order payment --grant-to '{role}_service'";

pub(super) const HEALTH: &str = "\
Examples:
  sagashop health
  sagashop health order --http-port 9082 --output json";

pub(super) const DEMO: &str = "\
Examples:
  sagashop demo
  sagashop demo --orders 1000 --rate 50 --seed 7
  sagashop demo --port-offset 100 --output json";

pub(super) const DOCTOR: &str = "\
Examples:
  sagashop doctor
  sagashop doctor order --database-url postgres://reader@db:5432/postgres --output json";

pub(super) const RESTORE_CHECK: &str = "\
Examples:
  sagashop restore-check
  sagashop restore-check order --dry-run --output json
  sagashop restore-check --yes";

pub(super) const BENCH_CANARY: &str = "\
Examples:
  sagashop bench canary
  sagashop bench canary --output json";

pub(super) const BENCH_ORDERS: &str = "\
Examples:
  sagashop bench orders --duration 30s
  sagashop bench orders --rate 200 --duration 1m --output json
  sagashop bench orders --trace-price";

pub(super) const BENCH_HTTP: &str = "\
Examples:
  sagashop bench http --only products,orders --duration 20s
  sagashop bench http --overload";

pub(super) const BENCH_STORE: &str = "\
Examples:
  sagashop bench store --writers 32,128 --duration 10s
  sagashop bench store --writers 32 --hash-chain --output json";

pub(super) const BENCH_REBUILD: &str = "\
Examples:
  sagashop bench rebuild
  sagashop bench rebuild --events 100000 --output json
  sagashop bench rebuild --parallel 1 --rate 200";

pub(super) const BENCH_GENERATE: &str = "\
Examples:
  sagashop bench generate --orders 100000
  sagashop bench generate --orders 1000000 --data-dir ./trying
  sagashop bench generate --all --orders 1000000 --data-dir ./a-shop";

pub(super) const OPENAPI: &str = "\
Examples:
  sagashop openapi order > order.json
  sagashop openapi psp > provider.json
  sagashop openapi --all docs/api";

pub(super) const METRICS: &str = "\
Examples:
  sagashop metrics --output jsonl
  sagashop metrics --markdown > docs/metrics.md";

pub(super) const COMPLETIONS: &str = "\
Examples:
  sagashop completions bash > ~/.local/share/bash-completion/completions/sagashop
  sagashop completions zsh > ~/.zfunc/_sagashop
  sagashop completions fish > ~/.config/fish/completions/sagashop.fish";

pub(super) const MAN: &str = "\
Examples:
  sagashop man --dir ~/.local/share/man/man1
  sagashop man > sagashop.1";

pub(super) const CONFIG_SHOW: &str = "\
Examples:
  sagashop config show
  sagashop config show serve order --http-port 9082";

pub(super) const CONFIG_CHECK: &str = "\
Examples:
  sagashop config check
  sagashop config check serve order --http-port 9082";

pub(super) const OFFSETS_LIST: &str = "\
Examples:
  sagashop offsets list
  sagashop offsets list payment --output json";

pub(super) const RELAY_STATUS: &str = "\
Examples:
  sagashop relay status
  sagashop relay status order --output json";

pub(super) const RELAY_PENDING: &str = "\
Examples:
  sagashop relay pending
  sagashop relay pending order --output jsonl";

pub(super) const IDEMPOTENCY_SHOW: &str = "\
Examples:
  sagashop idempotency show 8e03978e-40d5-43e8-bc93-6894a57f9324";

pub(super) const KEYS_LIST: &str = "\
Examples:
  sagashop keys list --output json";

pub(super) const KEYS_ROTATE: &str = "\
Examples:
  sagashop keys rotate";

pub(super) const KEYS_RETIRE: &str = "\
Examples:
  sagashop keys retire 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --dry-run
  sagashop keys retire 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --yes";

pub(super) const CREATE_ADMIN: &str = "\
Examples:
  sagashop users create-admin --email ada@example.com
  pass show shop/admin | sagashop users create-admin --email ada@example.com";

#[cfg(test)]
mod tests {
    use crate::args::Args;
    use clap::{Command, CommandFactory, Parser};

    /// Every command that does something, with its words.
    fn leaves() -> Vec<(String, Command)> {
        fn walk(command: &Command, path: &str, into: &mut Vec<(String, Command)>) {
            let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
            if below.is_empty() {
                into.push((path.to_owned(), command.clone()));
            }
            for command in below {
                walk(command, format!("{path} {}", command.get_name()).trim_start(), into);
            }
        }
        let mut leaves = Vec::new();
        walk(&Args::command(), "", &mut leaves);
        leaves
    }

    fn help(command: &Command) -> String {
        command.clone().render_long_help().to_string()
    }

    /// The command lines of a help, without what is around them.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let lines = help.lines().map(str::trim).filter(|line| line.contains("sagashop "));
        let of_examples = lines.skip_while(|line| line.starts_with("Usage:"));
        of_examples.filter(|line| !line.starts_with("Usage:")).filter_map(words).collect()
    }

    /// A line's words as a shell has them, from `sagashop` to where the line leads elsewhere.
    fn words(line: &str) -> Option<Vec<String>> {
        let line = line.strip_prefix("sagashop ").or_else(|| line.split_once("| sagashop ").map(|(_, rest)| rest))?;
        // What it is for may stand beside it.
        let line = line.split_once("   ").map_or(line, |(line, _)| line);
        let (mut words, mut word, mut quoted) = (vec!["sagashop".to_owned()], String::new(), false);
        for letter in line.chars() {
            match letter {
                '\'' => quoted = !quoted,
                '|' | '>' | '#' if !quoted => break,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                letter => word.push(letter),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        Some(words)
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_how() {
        let leaves = leaves();
        assert!(leaves.len() > 40, "{}", leaves.len());
        let bare: Vec<_> = leaves
            .iter()
            .filter(|(_, command)| {
                let help = help(command);
                command.get_about().is_none() || !(help.contains("Examples:\n") || help.contains("Example:\n"))
            })
            .map(|(path, _)| path)
            .collect();
        assert!(bare.is_empty(), "without about or examples (see args/examples.rs): {bare:?}");
    }

    #[test]
    fn every_example_is_a_command_line_of_its_command() {
        let mut faults = Vec::new();
        for (path, command) in leaves() {
            let examples = examples(&help(&command));
            let name: Vec<&str> = path.split(' ').collect();
            let own =
                |words: &[String]| words[1..].iter().map(String::as_str).take(name.len()).eq(name.iter().copied());
            if !examples.iter().any(|words| own(words)) {
                faults.push(format!("{path} shows only others"));
            }
            for words in examples {
                if let Err(error) = Args::try_parse_from(&words) {
                    faults.push(format!("{path}: {words:?}: {}", error.to_string().lines().next().unwrap_or_default()));
                }
            }
        }
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn a_time_is_read_by_one_rule_everywhere() {
        for (path, command) in leaves() {
            for arg in command.get_arguments().filter(|arg| matches!(arg.get_id().as_str(), "since" | "until" | "at")) {
                assert!(arg.is_allow_hyphen_values_set(), "{path} --{} takes no -15m", arg.get_id());
                let parser = arg.get_value_parser().clone();
                let long = arg.get_long().expect("a flag").to_owned();
                let line = clap::Arg::new("value").long(long.clone()).allow_hyphen_values(true).value_parser(parser);
                let line = Command::new("check").no_binary_name(true).arg(line);
                for good in ["-15m", "2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00"] {
                    let parsed = line.clone().try_get_matches_from([format!("--{long}"), good.to_owned()]);
                    assert!(parsed.is_ok(), "{path} --{long} {good}: {}", parsed.unwrap_err());
                }
                let refused = line.clone().try_get_matches_from([format!("--{long}=yesterday")]);
                assert!(refused.is_err_and(|error| error.to_string().contains("-15m")), "{path} --{long} yesterday");
            }
        }
    }

    /// Commands that change what is there, and others that only add to it or write files that are named.
    const DESTRUCTIVE: &[&str] = &[
        "restore-check",
        "events import",
        "events copy",
        "projection rebuild",
        "projection drop-old",
        "saga retry",
        "saga skip",
        "saga cancel",
        "saga pause",
        "saga resume",
        "saga restart-from",
        "dead-letters retry",
        "dead-letters discard",
        "dead-letters edit",
        "offsets set",
        "relay rewind",
        "keys retire",
        "replay",
    ];

    const HARMLESS: &[&str] = &[
        "up",
        "serve",
        "migrate",
        "health",
        "demo",
        "audit",
        "doctor",
        "bench canary",
        "bench orders",
        "bench http",
        "bench store",
        "bench rebuild",
        "bench generate",
        "openapi",
        "metrics",
        "completions",
        "man",
        "config show",
        "config check",
        "saga list",
        "saga show",
        "saga graph",
        "events list",
        "events show",
        "events tail",
        "events count",
        "events export",
        "stream",
        "trace",
        "state",
        "schemas list",
        "schemas show",
        "schemas check",
        "schemas diff",
        "schemas write",
        "projection list",
        "projection verify",
        "dead-letters list",
        "dead-letters show",
        "ops log",
        "offsets list",
        "relay status",
        "relay pending",
        "idempotency show",
        "keys list",
        "keys rotate",
        "users create-admin",
    ];

    #[test]
    fn whatever_destroys_can_be_tried_and_asks_first() {
        for (path, command) in leaves() {
            let has = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
            if DESTRUCTIVE.contains(&path.as_str()) {
                assert!(has("dry-run") && has("yes"), "{path} needs --dry-run and --yes");
            } else {
                assert!(HARMLESS.contains(&path.as_str()), "{path}: does it destroy anything? See args/examples.rs");
            }
        }
    }
}
