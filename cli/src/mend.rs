//! What operators mend with: dead letters, offsets, the relay. Each act is recorded in the store that it is done in, in
//! the transaction that does it ([`ops`]).

pub mod idempotency;
pub mod letters;
pub mod offsets;
pub mod ops;
pub mod relay;

use crate::args::{ActArgs, DatabaseArgs, GlobalArgs};
use crate::config::nearest;
use crate::exit::{Code, Failure};
use crate::ports::Role;
use crate::postgres::Server;
use chrono::{DateTime, SecondsFormat, Utc};
use event_schemas::topics;
use event_store::{EventStore, HashChain, Mend, Operation, PgStore, StoreOptions, UnitOfWork, clock};
use sqlx::PgPool;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

/// Operators write: what they do is recorded.
const LIVE: kernel::Live = kernel::Live::because("an operator mends");

/// As long as the interfaces take it.
const REASON_CHARS_MAX: usize = 500;
/// An answer is yes, or it is not.
const ANSWER_BYTES_MAX: u64 = 100;

/// A server that runs.
///
/// # Errors
/// There is none.
pub(crate) async fn attach(global: &GlobalArgs, database: &DatabaseArgs) -> anyhow::Result<Server> {
    Server::attach(&database.options(global)?).await?.ok_or_else(|| {
        let message = "no shop runs here: start one with `sagashop up`, or name its database with DATABASE_URL";
        Failure::new(Code::Unavailable, message).into()
    })
}

/// A role's store.
pub(crate) struct Store {
    pub(crate) role: Role,
    pub(crate) pool: PgPool,
    store: Arc<PgStore>,
}

impl Store {
    pub(crate) fn open(server: &Server, role: Role) -> Self {
        let pool = runtime::service::pool(server.options(role.database()), "mend", 2);
        let options = StoreOptions { hash_chain: HashChain::Continue, ..StoreOptions::default() };
        Self { role, store: PgStore::new(pool.clone(), options, LIVE), pool }
    }

    pub(crate) fn events(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as _
    }

    /// Says whose database it was, and keeps apart those that do not answer.
    pub(crate) fn failed(&self, error: anyhow::Error) -> anyhow::Error {
        let is_away = |cause: &(dyn std::error::Error + 'static)| {
            matches!(cause.downcast_ref(), Some(event_store::Error::Unavailable(_))) || cause.is::<sqlx::Error>()
        };
        if error.chain().any(is_away) { self.away(&error) } else { error.context(self.role.database()) }
    }

    /// Says whose database did not answer.
    pub(crate) fn away(&self, error: &dyn std::fmt::Display) -> anyhow::Error {
        Failure::new(Code::Unavailable, format!("{}: {error}", self.role.database())).into()
    }

    /// The consumers that have a place on a topic here.
    ///
    /// # Errors
    /// The store is away.
    pub(crate) async fn consumers(&self) -> anyhow::Result<Vec<String>> {
        // Who relays or sweeps is settled by leases on places that are no topics.
        sqlx::query_scalar("SELECT DISTINCT consumer FROM consumer_offsets WHERE topic = ANY($1) ORDER BY consumer")
            .bind(topics::ALL.map(str::to_owned).to_vec())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.away(&error))
    }

    /// Does it and records it, or neither.
    ///
    /// # Errors
    /// What was seen is not so any more, or the store is away.
    pub(crate) async fn act(&self, mends: Vec<Mend>, operation: Operation, actor: &str) -> anyhow::Result<()> {
        let appends = vec![operation.append(actor, clock::system().as_ref())];
        match self.store.commit(UnitOfWork { appends, mends, ..UnitOfWork::default() }).await {
            Ok(()) => Ok(()),
            Err(error @ event_store::Error::Outdated) => {
                let message = format!("nothing was changed: {error}; look again");
                Err(Failure::new(Code::Failed, message).into())
            }
            Err(error) => Err(self.away(&error)),
        }
    }
}

impl ActArgs {
    /// Who acts, as events name actors.
    pub(crate) fn actor(&self) -> String {
        let variable = |name| std::env::var(name).ok();
        let names = [self.operator.clone(), variable("USER"), variable("LOGNAME")];
        let name = names.into_iter().flatten().find(|name| !name.trim().is_empty());
        format!("operator:{}", name.as_deref().map_or("unknown", str::trim))
    }

    /// Why, if it was said.
    ///
    /// # Errors
    /// It is too long.
    pub(crate) fn reason_given(&self) -> Result<Option<String>, Failure> {
        let reason = self.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
        match reason {
            Some(reason) if reason.chars().count() > REASON_CHARS_MAX => {
                let message = format!("--reason may have at most {REASON_CHARS_MAX} characters");
                Err(Failure::new(Code::Usage, message))
            }
            reason => Ok(reason.map(str::to_owned)),
        }
    }

    /// Why; for acts that need it.
    ///
    /// # Errors
    /// It was not said, or is too long.
    pub(crate) fn reason_needed(&self, act: &str) -> Result<String, Failure> {
        self.reason_given()?.ok_or_else(|| Failure::new(Code::Usage, format!("{act} needs a --reason: it is recorded")))
    }

    /// Whether to go on: by --yes, or by the answer to the question. False: it was only to be shown.
    ///
    /// # Errors
    /// Nobody is there to answer, or the answer is no.
    pub(crate) fn agreed(&self, question: &str) -> anyhow::Result<bool> {
        if self.dry_run {
            eprintln!("Nothing was changed.");
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            let message = "nobody is there to be asked: --yes does it, --dry-run only shows it";
            return Err(Failure::new(Code::Usage, message).into());
        }
        eprint!("{question} [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::Read::take(stdin.lock(), ANSWER_BYTES_MAX).read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            _ => Err(Failure::new(Code::Interrupted, "nothing was changed").into()),
        }
    }
}

/// `: did you mean payment?`, where there is something like it; else nothing.
pub(crate) fn meant<'a>(name: &str, among: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, among.into_iter()).map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default()
}

pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(crate) fn plural(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because(reason: &str) -> ActArgs {
        ActArgs { reason: Some(reason.to_owned()), ..ActArgs::default() }
    }

    #[test]
    fn a_reason_is_words_and_not_too_many() {
        assert_eq!(because(" mended ").reason_needed("discard").unwrap(), "mended");
        assert!(because(&"x".repeat(501)).reason_given().is_err());
        let missing = because("  ").reason_needed("discard").unwrap_err();
        assert_eq!((missing.code, missing.message.contains("--reason")), (Code::Usage, true));
    }

    #[test]
    fn a_dry_run_goes_no_further_and_yes_asks_nobody() {
        assert!(!ActArgs { dry_run: true, ..ActArgs::default() }.agreed("?").unwrap());
        assert!(ActArgs { yes: true, ..ActArgs::default() }.agreed("?").unwrap());
    }

    #[test]
    fn an_operator_is_named() {
        let named = ActArgs { operator: Some("ann".to_owned()), ..ActArgs::default() };
        assert_eq!(named.actor(), "operator:ann");
    }
}
