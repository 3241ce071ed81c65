//! The flags of what operators do for the user service.

use super::{DatabaseArgs, SecretArgs};
use clap::Subcommand;

/// `sagashop keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys that access tokens are signed with, the youngest first.
    List(KeysArgs),
    /// Make a new key that signs from now on; what the one before it signed stays good until it is retired.
    Rotate(KeysArgs),
    /// Retire a key that does not sign any more: its tokens are good no longer.
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
    /// The user service's database.
    #[command(flatten)]
    pub user: UserDatabaseArgs,
}

/// `sagashop users …`.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Make an administrator's account. Its password is asked for, or read from standard input; never an argument,
    /// because everybody on the machine can see those.
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
