//! The flags of what operators do for the user service.

use super::{ActArgs, DatabaseArgs, SecretArgs, examples, values};
use clap::Subcommand;
use std::time::Duration;

/// How long logins last, and how often one may fail.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Accounts (user service)")]
pub struct AccountArgs {
    /// How long an access token is good; so long other services let in who was locked or has logged out.
    #[arg(long, value_name = "TIME", env = "ACCESS_TOKEN_LIFETIME", default_value = "15m", value_parser = values::duration)]
    pub access_token_lifetime: Duration,
    /// How long a login lasts, however often its tokens are refreshed.
    #[arg(long, value_name = "TIME", env = "LOGIN_LIFETIME", default_value = "720h", value_parser = values::duration)]
    pub login_lifetime: Duration,
    /// Wrong passwords for one account before it rests.
    #[arg(long, value_name = "N", env = "LOGIN_FAILURES_MAX", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub login_failures_max: u32,
    /// The time within which they are counted, and for which the account rests.
    #[arg(long, value_name = "TIME", env = "LOGIN_FAILURES_WINDOW", default_value = "15m", value_parser = values::duration)]
    pub login_failures_window: Duration,
}

/// `sagashop keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys that access tokens are signed with, the youngest first.
    #[command(after_help = examples::KEYS_LIST)]
    List(KeysArgs),
    /// Make a new key that signs from now on; what the one before it signed stays good until it is retired.
    #[command(after_help = examples::KEYS_ROTATE)]
    Rotate(KeysArgs),
    /// Retire a key that does not sign any more: its tokens are good no longer.
    #[command(after_help = examples::KEYS_RETIRE)]
    Retire(KeysRetireArgs),
}

/// `sagashop keys list` and `rotate`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeysArgs {
    /// The user service's database.
    #[command(flatten)]
    pub user: UserDatabaseArgs,
}

/// `sagashop keys retire`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeysRetireArgs {
    /// The key's id, as `keys list` shows it.
    pub kid: String,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
    /// The user service's database.
    #[command(flatten)]
    pub user: UserDatabaseArgs,
}

/// `sagashop users …`.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Make an administrator's account. Its password is asked for, or read from standard input; never an argument,
    /// because everybody on the machine can see those.
    #[command(after_help = examples::CREATE_ADMIN)]
    CreateAdmin(CreateAdminArgs),
}

/// `sagashop users create-admin`.
#[derive(Clone, Debug, clap::Args)]
pub struct CreateAdminArgs {
    /// The account's e-mail address.
    #[arg(long, value_name = "ADDRESS")]
    pub email: String,
    /// The administrator's name.
    #[arg(long, value_name = "NAME", default_value = "Administrator")]
    pub name: String,
    /// The user service's database.
    #[command(flatten)]
    pub user: UserDatabaseArgs,
}

/// Where the user service's database is, and what its secrets are wrapped with.
#[derive(Clone, Debug, clap::Args)]
pub struct UserDatabaseArgs {
    /// Its name.
    #[arg(long, value_name = "NAME", env = "DB_NAME", default_value = "userdb")]
    pub db_name: String,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// What must be kept from others.
    #[command(flatten)]
    pub secrets: SecretArgs,
}
