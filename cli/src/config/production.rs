//! What a production must not run with.

use crate::args::{Args, Command, DatabaseArgs, Mode, PaymentArgs, ProviderKind, SecretArgs, ServeArgs, UpArgs};
use crate::ports::{Part, Role};
use reqwest::Url;
use std::collections::BTreeSet;
use std::fmt;
use user_service::MasterKey;

/// A secret has at least so many characters, and so many different ones.
const CHARACTERS_MIN: usize = 32;
const DIFFERENT_MIN: usize = 8;
/// Passwords of a database that everybody tries first.
const DEFAULT_PASSWORDS: [&str; 8] =
    ["postgres", "password", "postgresql", "secret", "admin", "sagashop", "changeme", "123456"];
/// Words of examples: a secret that has one was copied from somewhere.
const EXAMPLE_WORDS: [&str; 8] =
    ["changeme", "change-me", "change_me", "secret", "password", "example", "default", "insecure"];

/// Why a production does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The variable that is wrong.
    pub variable: &'static str,
    /// What is wrong with it, and what helps.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.reason)
    }
}

/// All faults of a command that is to run in production; none in development.
pub fn faults(args: &Args) -> Vec<Fault> {
    match (&args.global.mode, &args.command) {
        (Mode::Development, _) => Vec::new(),
        (Mode::Production, Command::Serve(serve)) => of_serve(serve),
        (Mode::Production, Command::Up(up)) => of_up(up),
        (Mode::Production, _) => Vec::new(),
    }
}

fn of_serve(args: &ServeArgs) -> Vec<Fault> {
    let mut faults = Vec::new();
    match args.part {
        Part::Role(role) => {
            of_database(&args.database, &mut faults);
            of_secrets(Some(role), &args.secrets, &mut faults);
            if role == Role::Payment {
                of_payment(&args.payment, &mut faults);
            }
        }
        Part::Psp => {
            let reason = "the provider for trying moves no money, and has no place in a production".to_owned();
            faults.push(Fault { variable: "SAGASHOP_MODE", reason });
        }
        Part::Gateway => {}
    }
    faults
}

fn of_up(args: &UpArgs) -> Vec<Fault> {
    let mut faults = Vec::new();
    of_database(&args.database, &mut faults);
    of_secrets(None, &args.secrets, &mut faults);
    of_payment(&args.payment, &mut faults);
    faults
}

/// A provider that moves money, or the word that none is wanted.
fn of_payment(args: &PaymentArgs, faults: &mut Vec<Fault>) {
    match args.provider.payment_provider {
        ProviderKind::Simulated if args.allow_simulated_payments => {}
        ProviderKind::Simulated => {
            let reason = "a simulated provider moves no money; ALLOW_SIMULATED_PAYMENTS=true says that this is meant";
            faults.push(Fault { variable: "PAYMENT_PROVIDER", reason: reason.to_owned() });
        }
        ProviderKind::Http => {
            of_secret("PSP_SECRET", args.provider.psp_secret.as_deref(), true, weakness, faults);
        }
    }
}

fn of_secrets(role: Option<Role>, secrets: &SecretArgs, faults: &mut Vec<Fault>) {
    // Without a role: all of them.
    let needs = |roles: &[Role]| role.is_none_or(|role| roles.contains(&role));
    let token = secrets.internal_token.as_deref();
    of_secret("INTERNAL_TOKEN", token, needs(&[Role::User, Role::Order, Role::Notification]), weakness, faults);
    of_secret("WEBHOOK_KEY", secrets.webhook_key.as_deref(), false, weakness, faults);
    of_secret("MASTER_KEY", secrets.master_key.as_deref(), needs(&[Role::User]), weakness_of_key, faults);
}

/// A secret that is needed is there; one that is there is not weak.
fn of_secret(
    variable: &'static str,
    value: Option<&str>,
    is_needed: bool,
    weakness: impl Fn(&str) -> Option<String>,
    faults: &mut Vec<Fault>,
) {
    let reason = match value.filter(|value| !value.is_empty()) {
        None => is_needed.then(|| "is missing".to_owned()),
        Some(value) => weakness(value).map(|weakness| format!("is weak: {weakness}")),
    };
    if let Some(reason) = reason {
        let reason = format!("{reason}; `openssl rand -base64 32` makes a good one");
        faults.push(Fault { variable, reason });
    }
}

fn of_database(args: &DatabaseArgs, faults: &mut Vec<Fault>) {
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let url = given(&args.database_url);
    let (variable, password) = match (&url, given(&args.db_host)) {
        (Some(url), _) => ("DATABASE_URL", password_of(url)),
        // A socket's folder: the operating system says who we are.
        (None, Some(host)) if host.starts_with('/') => return,
        (None, Some(_)) => ("DB_PASSWORD", given(&args.db_password)),
        (None, None) => {
            let reason = "no database is named: a PostgreSQL of our own is for development".to_owned();
            faults.push(Fault { variable: "DATABASE_URL", reason });
            return;
        }
    };
    let reason = match password {
        None => "the password of the database is missing",
        Some(password) if DEFAULT_PASSWORDS.contains(&password.to_ascii_lowercase().as_str()) => {
            "the password of the database is one that everybody tries first"
        }
        Some(_) => return,
    };
    faults.push(Fault { variable, reason: reason.to_owned() });
}

/// The password in a URL: before the host, or as a parameter.
fn password_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let parameter = || url.query_pairs().find(|(name, _)| name == "password").map(|(_, value)| value.into_owned());
    url.password().map(str::to_owned).or_else(parameter).filter(|password| !password.is_empty())
}

/// The same of a key that is bytes: it is one, and not of a few bytes only.
fn weakness_of_key(key: &str) -> Option<String> {
    let different = key.chars().collect::<BTreeSet<_>>().len();
    match key.parse::<MasterKey>() {
        // What it says of the value may repeat the value.
        Err(_) => Some("it is not 32 bytes in base64 or hexadecimal".to_owned()),
        Ok(_) => (different < DIFFERENT_MIN).then(|| "it repeats a few characters".to_owned()),
    }
}

/// What makes a secret easy to guess, as far as it can be seen.
fn weakness(secret: &str) -> Option<String> {
    let lower = secret.to_ascii_lowercase();
    let different = secret.chars().collect::<BTreeSet<_>>().len();
    if secret.chars().count() < CHARACTERS_MIN {
        Some(format!("it has fewer than {CHARACTERS_MIN} characters"))
    } else if different < DIFFERENT_MIN {
        Some("it repeats a few characters".to_owned())
    } else {
        let word = EXAMPLE_WORDS.iter().find(|word| lower.contains(**word));
        word.map(|word| format!("it contains {word:?}, as examples do"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn variables(line: &[&str]) -> Vec<&'static str> {
        faults(&Args::parse_from([&["sagashop"], line].concat())).iter().map(|fault| fault.variable).collect()
    }

    #[test]
    fn a_production_needs_what_its_part_uses() {
        let url = ["--mode", "production", "--database-url", "postgres://shop:Vq8zP1mX4c@db/shop"];
        let of = |part: &'static str| variables(&[&["serve", part][..], &url].concat());
        assert_eq!(of("user"), ["INTERNAL_TOKEN", "MASTER_KEY"]);
        assert_eq!(of("notification"), ["INTERNAL_TOKEN"]);
        assert_eq!(of("order"), ["INTERNAL_TOKEN"]);
        assert_eq!(of("payment"), ["PAYMENT_PROVIDER"]);
        let all = ["INTERNAL_TOKEN", "MASTER_KEY", "PAYMENT_PROVIDER"];
        assert_eq!(variables(&[&["up"][..], &url].concat()), all);
        assert_eq!(variables(&["serve", "gateway", "--mode", "production"]), [""; 0]);
        assert_eq!(variables(&["serve", "user"]), [""; 0], "development asks for nothing");
    }

    #[test]
    fn simulated_payments_need_an_explicit_yes() {
        let url = ["--mode", "production", "--database-url", "postgres://shop:Vq8zP1mX4c@db/shop"];
        let of = |more: &[&'static str]| variables(&[&["serve", "payment"][..], &url, more].concat());
        assert_eq!(of(&[]), ["PAYMENT_PROVIDER"]);
        assert_eq!(of(&["--allow-simulated-payments"]), [""; 0]);
        assert_eq!(of(&["--payment-provider", "http"]), ["PSP_SECRET"]);
        assert_eq!(of(&["--payment-provider", "http", "--psp-secret", "f2Vb7QxW0pK9sLdN4tYcR8mZ3aHjE6uG"]), [""; 0]);
        assert_eq!(variables(&["serve", "psp", "--mode", "production"]), ["SAGASHOP_MODE"]);
    }

    #[test]
    fn the_database_has_a_password_that_is_no_default() {
        for (line, variable) in [
            (&["--database-url", "postgres://shop@db/shop"][..], Some("DATABASE_URL")),
            (&["--database-url", "postgres://shop:postgres@db/shop"], Some("DATABASE_URL")),
            (&["--database-url", "postgres://shop@db/shop?password=Postgres"], Some("DATABASE_URL")),
            (&["--database-url", "postgres://shop@db/shop?password=Vq8zP1mX4c"], None),
            (&["--db-host", "db"], Some("DB_PASSWORD")),
            (&["--db-host", "db", "--db-password", "password"], Some("DB_PASSWORD")),
            (&["--db-host", "/var/run/postgresql"], None),
            (&[], Some("DATABASE_URL")),
        ] {
            let told = variables(&[&["serve", "product", "--mode", "production"], line].concat());
            assert_eq!(told, variable.into_iter().collect::<Vec<_>>(), "{line:?}");
        }
    }

    #[test]
    fn weak_secrets_are_seen() {
        assert_eq!(weakness("f2Vb7QxW0pK9sLdN4tYcR8mZ3aHjE6uG"), None);
        for weak in
            ["", "short", &"ab".repeat(32), "this-is-an-example-of-a-long-token", "0123456789-my-password-9876543210"]
        {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        assert!(weakness_of_key(&"0".repeat(64)).is_some());
        assert!(weakness_of_key("secret").is_some());
    }
}
