//! How the commands feel, all of them: wrong arguments, names that there are not, servers that are away, rights that are
//! missing, and answers for programs. One list, held against the program's own command line.

use crate::database_roles::host;
use crate::process::sagashop;
use crate::up::Up;
use crate::{PATIENCE, room_for_a_small_shop};
use clap::{Command, CommandFactory};
use sagashop::args::Args;
use sagashop::ports::Role;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Output;

/// Nobody's.
const ID: &str = "0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d";

/// What a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing: it answers anywhere.
    Nothing,
    /// Databases that are there: it looks at them, and changes nothing.
    Databases,
    /// The same, and says what it could not check.
    Checks,
    /// Databases that are there, and something to do.
    Work,
    /// A shop of its own, or long: its own tests run it.
    Elsewhere,
}

/// Every command with the least that it is called with. `{order}` is an order's id, `{health}` a port.
const COMMANDS: &[(&str, &str, Needs)] = {
    use Needs::{Checks, Databases, Elsewhere, Nothing, Work};
    &[
        ("up", "", Elsewhere),
        ("serve", "order", Elsewhere),
        ("demo", "", Elsewhere),
        ("bench canary", "", Elsewhere),
        ("bench orders", "", Elsewhere),
        ("bench http", "", Elsewhere),
        ("bench store", "", Elsewhere),
        ("bench rebuild", "", Elsewhere),
        ("bench generate", "", Elsewhere),
        ("health", "order --http-port {health}", Elsewhere),
        ("migrate", "", Work),
        ("audit", "--kafka-broker=", Checks),
        ("doctor", "--kafka-broker=", Checks),
        ("restore-check", "--kafka-broker=", Work),
        ("openapi", "order", Nothing),
        ("metrics", "", Nothing),
        ("completions", "bash", Nothing),
        ("man", "", Nothing),
        ("config show", "", Nothing),
        ("config check", "", Nothing),
        ("saga graph", "", Nothing),
        ("saga list", "", Databases),
        ("saga show", "{order}", Databases),
        ("saga retry", "{order} --reason x --dry-run", Work),
        ("saga skip", "{order} --reason x --dry-run", Work),
        ("saga cancel", "{order} --reason x --dry-run", Work),
        ("saga pause", "{order} --reason x --dry-run", Work),
        ("saga resume", "{order} --reason x --dry-run", Work),
        ("saga restart-from", "reserve_stock {order} --reason x --dry-run", Work),
        ("events list", "", Databases),
        ("events show", "order/{order}/1", Databases),
        ("events tail", "", Databases),
        ("events count", "", Databases),
        ("events export", "order --to - ", Elsewhere),
        ("events import", "", Elsewhere),
        ("events copy", "", Elsewhere),
        ("stream", "order/{order}", Databases),
        ("trace", "{order}", Databases),
        ("state", "", Databases),
        ("schemas list", "", Nothing),
        ("schemas show", "order_created", Nothing),
        ("schemas check", "", Elsewhere),
        ("schemas diff", "", Elsewhere),
        ("schemas write", "", Elsewhere),
        ("replay", "", Elsewhere),
        ("projection list", "", Databases),
        ("projection verify", "orders", Databases),
        ("projection rebuild", "orders --dry-run", Work),
        ("projection drop-old", "orders --dry-run", Work),
        ("dead-letters list", "", Databases),
        ("dead-letters show", "payment payment_commands/0/999", Work),
        ("dead-letters retry", "payment payment_commands/0/999 --reason x --dry-run", Work),
        ("dead-letters discard", "payment payment_commands/0/999 --reason x --dry-run", Work),
        ("dead-letters edit", "payment payment_commands/0/999 --value {} --reason x --dry-run", Work),
        ("ops log", "", Databases),
        ("offsets list", "--kafka-broker=", Databases),
        ("offsets set", "payment payment payment_commands/0 --to 0 --reason x --dry-run --kafka-broker=", Work),
        ("relay status", "", Databases),
        ("relay pending", "", Databases),
        ("relay rewind", "order --events 1 --reason x --dry-run", Work),
        ("idempotency show", "once", Databases),
        ("keys list", "", Databases),
        ("keys rotate", "", Work),
        ("keys retire", "0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --dry-run", Work),
        ("users create-admin", "--email ada@example.com", Elsewhere),
    ]
};

fn words(command: &str, arguments: &str, order: &str) -> Vec<String> {
    let arguments = arguments.replace("{order}", order);
    command.split(' ').chain(arguments.split_whitespace()).map(str::to_owned).collect()
}

async fn run(arguments: Vec<String>, environment: Vec<(&'static str, String)>) -> Output {
    let mut command = sagashop();
    // Nobody's shop lives there.
    let folder = tempfile::tempdir().expect("a folder");
    command.current_dir(folder.path()).args(arguments).envs(environment);
    let run = tokio::task::spawn_blocking(move || command.output().expect("the binary starts"));
    tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("no panic")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn leaves() -> BTreeSet<String> {
    fn walk(command: &Command, path: &str, into: &mut BTreeSet<String>) {
        let mut below = command.get_subcommands().filter(|below| below.get_name() != "help").peekable();
        if below.peek().is_none() {
            into.insert(path.to_owned());
        }
        below.for_each(|below| walk(below, format!("{path} {}", below.get_name()).trim(), into));
    }
    let mut leaves = BTreeSet::new();
    walk(&Args::command(), "", &mut leaves);
    leaves
}

#[test]
fn the_list_has_every_command() {
    let listed: BTreeSet<_> = COMMANDS.iter().map(|(command, ..)| (*command).to_owned()).collect();
    let missing: Vec<_> = leaves().difference(&listed).cloned().collect();
    assert!(missing.is_empty(), "not in the list above: {missing:?}");
}

/// A flag that there is not, and a name with a letter too few: exit code 2, what was not understood, and what was
/// perhaps meant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_named() {
    for command in leaves() {
        let flag = run(words(&command, "--nonsense", ID), vec![]).await;
        assert_eq!(flag.status.code(), Some(2), "{command}: {}", said(&flag));
        assert!(said(&flag).contains("--nonsense") && flag.stdout.is_empty(), "{command}: {}", said(&flag));
    }
    for command in Args::command().get_subcommands().map(Command::get_name).filter(|name| name.len() > 4) {
        let shorter = &command[..command.len() - 1];
        let output = run(vec![shorter.to_owned()], vec![]).await;
        assert_eq!(output.status.code(), Some(2), "{shorter}: {}", said(&output));
        assert!(said(&output).contains(&format!("'{command}'")), "{shorter}: {}", said(&output));
    }
}

/// The server that was named does not answer: exit code 6, or 3 of what only checks; nothing on stdout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_named() {
    let away = || vec![("DATABASE_URL", "postgres://shop@127.0.0.1:1/postgres".to_owned())];
    for (command, arguments, needs) in COMMANDS {
        let code = match needs {
            Needs::Nothing | Needs::Elsewhere => continue,
            Needs::Databases | Needs::Work => 6,
            Needs::Checks => 3,
        };
        let output = run(words(command, arguments, ID), away()).await;
        assert_eq!(output.status.code(), Some(code), "{command}: {}", said(&output));
        assert!(said(&output).contains("127.0.0.1:1"), "{command}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_answered_and_who_may_not_is_told_so() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let order = json!({ "product_id": lamp, "quantity": 1 });
    let request =
        shop.request(reqwest::Method::POST, Role::Order, "/orders", &customer).header("Idempotency-Key", "once");
    let placed = shop.send(request.json(&order)).await.expect(201);
    let order = placed["id"].as_str().expect("an id").to_owned();
    shop.ended(&customer, &order).await;

    let data = shop.folder.data().to_str().expect("a path").to_owned();
    for (command, arguments, needs) in COMMANDS {
        if matches!(needs, Needs::Work | Needs::Elsewhere) {
            continue;
        }
        for format in ["json", "jsonl"] {
            let arguments =
                [words(command, arguments, &order), vec!["--output".to_owned(), format.to_owned()]].concat();
            let output = run(arguments, vec![("SAGASHOP_DATA_DIR", data.clone())]).await;
            // Ports of the shop are others here, which the doctor says.
            let is_told = output.status.success() || *command == "doctor";
            assert!(is_told, "{command}: {}: {}", output.status, said(&output));
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            let documents = if format == "json" { vec![text.as_str()] } else { text.lines().collect() };
            for document in documents {
                let parsed = serde_json::from_str::<Value>(document);
                assert!(parsed.is_ok(), "{command} --output {format}: {document}");
            }
            assert!(!text.contains('\u{1b}'), "{command}: no colours for programs");
        }
    }

    // Whoever may connect and read nothing.
    let server = shop.folder.server().await;
    shop.folder.execute(Role::User, "CREATE ROLE stranger LOGIN").await;
    let stranger = || vec![("DB_HOST", host(&server)), ("DB_USER", "stranger".to_owned())];
    for (command, arguments, needs) in COMMANDS {
        let code = match needs {
            Needs::Nothing | Needs::Elsewhere | Needs::Work => continue,
            Needs::Databases => 6,
            Needs::Checks => 3,
        };
        let output = run(words(command, arguments, &order), stranger()).await;
        let told = said(&output) + &String::from_utf8_lossy(&output.stdout);
        // What is wrong with a deployment, the doctor may find all the same.
        let is_code = output.status.code() == Some(code) || (*command == "doctor" && output.status.code() == Some(1));
        assert!(is_code, "{command}: {}: {told}", output.status);
        let is_named = told.contains("may not") || told.contains("permission denied") || told.contains("refuse");
        assert!(is_named, "{command}: {told}");
    }
}
