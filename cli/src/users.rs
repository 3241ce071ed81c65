//! `sagashop users`: accounts that no API makes.

use crate::args::{CreateAdminArgs, GlobalArgs, UsersCommand};
use crate::exit::Code;
use crate::keys::{master, pool};
use crate::output::{self, Row};
use anyhow::Context;
use domain::user::Role;
use serde::Serialize;
use std::io::{BufRead, IsTerminal};
use user_service::{Bootstrap, Config, create_account};

/// A password has at most 256 characters: what is longer was not meant to be one.
const LINE_BYTES_MAX: u64 = 4 * 1_024;

/// Runs one of the commands.
///
/// # Errors
/// When there is no database, or the account cannot be made.
pub async fn run(global: &GlobalArgs, command: &UsersCommand) -> anyhow::Result<Code> {
    match command {
        UsersCommand::CreateAdmin(args) => create_admin(global, args).await,
    }
}

async fn create_admin(global: &GlobalArgs, args: &CreateAdminArgs) -> anyhow::Result<Code> {
    let pool = pool(global, &args.user).await?;
    let config = Config::new(master(global, &args.user)?);
    let password = tokio::task::spawn_blocking(password).await??;
    let account = Bootstrap { name: args.name.clone(), email: args.email.clone(), password, role: Role::Admin };
    let id = create_account(&pool, &config, &account).await?;
    output::one(global.output, &Created { id: id.to_string(), email: args.email.clone(), role: "admin" })?;
    Ok(Code::Done)
}

/// Asked for twice at a terminal, without being shown; else the first line of standard input.
fn password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let ask = |what| rpassword::prompt_password(what).context("the password cannot be read");
        let password = ask("Password: ")?;
        anyhow::ensure!(ask("Again: ")? == password, "the two passwords differ");
        return Ok(password);
    }
    first_line(stdin.lock())
}

fn first_line(input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut line).context("the password cannot be read from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!password.is_empty(), "there is no password on standard input");
    Ok(password.to_owned())
}

#[derive(Serialize)]
struct Created {
    id: String,
    email: String,
    role: &'static str,
}

impl Row for Created {
    const COLUMNS: &'static [&'static str] = &["id", "email", "role"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.email.clone(), self.role.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_without_its_end() {
        for (input, password) in [("secret\n", "secret"), ("secret", "secret"), (" a b \r\nrest", " a b ")] {
            assert_eq!(first_line(input.as_bytes()).unwrap(), password);
        }
        assert!(first_line(&b"\n"[..]).is_err() && first_line(&b""[..]).is_err());
    }
}
