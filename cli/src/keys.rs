//! `sagashop keys`: the keys that access tokens are signed with. A service that runs follows within seconds.

use crate::args::{GlobalArgs, KeysCommand, UserDatabaseArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::postgres::Server;
use crate::shop::master_key;
use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use event_store::clock;
use serde::Serialize;
use sqlx::PgPool;
use user_service::MasterKey;
use user_service::signing_keys::{self, SigningKey};

/// Runs one of the commands.
///
/// # Errors
/// When there is no database, or the keys cannot be changed so.
pub async fn run(global: &GlobalArgs, command: &KeysCommand) -> anyhow::Result<Code> {
    let clock = clock::system();
    match command {
        KeysCommand::List(args) => {
            let pool = pool(global, &args.user).await?;
            let keys = signing_keys::list(&pool).await.context("the keys cannot be read: has the user service run?")?;
            output::rows(global.output, &keys.iter().map(Line::of).collect::<Vec<_>>())?;
        }
        KeysCommand::Rotate(args) => {
            let pool = pool(global, &args.user).await?;
            let kid = signing_keys::rotate(&pool, &master(global, &args.user)?, clock.as_ref()).await?;
            output::one(global.output, &find(&pool, &kid).await?)?;
            eprintln!("It signs within five seconds. Retire the one before it once its tokens have expired.");
        }
        KeysCommand::Retire(args) => {
            let pool = pool(global, &args.user).await?;
            let key = find(&pool, &args.kid).await?;
            if !args.act.agreed(&format!("Retire the key {}? What it signed is good no longer.", args.kid))? {
                output::one(global.output, &key)?;
                return Ok(Code::Done);
            }
            signing_keys::retire(&pool, &args.kid, clock.as_ref()).await?;
            output::one(global.output, &find(&pool, &args.kid).await?)?;
        }
    }
    Ok(Code::Done)
}

/// The user service's database, on a server that runs.
pub(crate) async fn pool(global: &GlobalArgs, args: &UserDatabaseArgs) -> anyhow::Result<PgPool> {
    let server = Server::attach(&args.database.options(global)?).await?;
    let Some(server) = server else {
        let message = "no shop runs here: start one with `sagashop up`, or name its database with DATABASE_URL";
        return Err(Failure::new(Code::Unavailable, message).into());
    };
    server.ensure_database(&args.db_name).await?;
    Ok(runtime::service::pool(server.options(&args.db_name), "operator", 2))
}

/// The master key that the shop has; none is made here, because another one would be of no use.
pub(crate) fn master(global: &GlobalArgs, args: &UserDatabaseArgs) -> anyhow::Result<MasterKey> {
    let known = master_key::known(global, &args.secrets)?;
    known.context("MASTER_KEY is missing: give the one that the user service runs with")
}

async fn find(pool: &PgPool, kid: &str) -> anyhow::Result<Line> {
    let keys = signing_keys::list(pool).await?;
    let key = keys.iter().find(|key| key.kid == kid).with_context(|| format!("there is no signing key {kid}"))?;
    Ok(Line::of(key))
}

#[derive(Serialize)]
struct Line {
    kid: String,
    state: &'static str,
    created_at: String,
    rotated_at: Option<String>,
    retired_at: Option<String>,
}

impl Line {
    fn of(key: &SigningKey) -> Self {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        Self {
            kid: key.kid.clone(),
            state: key.state.as_str(),
            created_at: time(key.created_at),
            rotated_at: key.rotated_at.map(time),
            retired_at: key.retired_at.map(time),
        }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["kid", "state", "created", "rotated", "retired"];

    fn cells(&self) -> Vec<String> {
        let optional = |time: &Option<String>| time.clone().unwrap_or_default();
        vec![
            self.kid.clone(),
            self.state.to_owned(),
            self.created_at.clone(),
            optional(&self.rotated_at),
            optional(&self.retired_at),
        ]
    }
}
