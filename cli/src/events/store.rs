//! The event stores, each behind a connection that cannot write.

use crate::args::{DatabaseArgs, GlobalArgs, StoreArgs};
use crate::audit::{connect, recorded};
use crate::exit::{Code, Failure};
use crate::mend::attach;
use crate::ports::Role;
use crate::postgres::Server;
use event_store::RecordedEvent;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Connection, PgConnection, Postgres, QueryBuilder};

/// What is read of an event: everything.
pub(crate) const COLUMNS: &str = "e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, \
     e.payload::text AS payload, e.metadata::text AS metadata, e.position, e.transaction_id::text AS xid, e.recorded_at";

/// Codes of what a database user may not do, and of a table that is not there.
const NOT_ALLOWED: &str = "42501";
const NO_TABLE: &str = "42P01";

/// The event store of one service.
pub(crate) struct Store {
    /// Whose.
    pub(crate) role: Role,
    pub(crate) connection: PgConnection,
}

/// Opens the stores that are wanted.
///
/// # Errors
/// When no shop runs here, or one of the databases cannot be had.
pub(crate) async fn open(global: &GlobalArgs, args: &StoreArgs) -> anyhow::Result<Vec<Store>> {
    open_roles(global, &args.database, &args.roles()).await
}

/// Opens the stores of these roles.
///
/// # Errors
/// When no shop runs here, or one of the databases cannot be had.
pub(crate) async fn open_roles(
    global: &GlobalArgs,
    database: &DatabaseArgs,
    roles: &[Role],
) -> anyhow::Result<Vec<Store>> {
    let server = attach(global, database).await?;
    open_on(&server, roles).await
}

/// Opens the stores of these roles on a server.
///
/// # Errors
/// One of the databases cannot be had.
pub(crate) async fn open_on(server: &Server, roles: &[Role]) -> anyhow::Result<Vec<Store>> {
    let opening = roles.iter().map(|role| async {
        let connection = connect(server, role.database()).await.map_err(|error| {
            let advice = "name the services whose stores are there with --service";
            let message = format!("the store of the {} cannot be read: {error:#}; {advice}", role.title());
            Failure::new(Code::Unavailable, message)
        })?;
        anyhow::Ok(Store { role: *role, connection })
    });
    futures::future::try_join_all(opening).await
}

/// The server of a shop that there is, also of one that does not run: then it is started for the time.
///
/// # Errors
/// There is none.
pub(crate) async fn server_of_any(global: &GlobalArgs, database: &DatabaseArgs) -> anyhow::Result<Server> {
    let options = database.options(global)?;
    let advice = "name its folder with --data-dir, or its database with DATABASE_URL";
    let none = || format!("there is no shop under {}: {advice}", options.data_dir.display());
    Server::open_existing(&options).await?.ok_or_else(|| Failure::new(Code::Unavailable, none()).into())
}

/// Parts with all of them.
pub(crate) async fn close(stores: Vec<Store>) {
    for store in stores {
        // Nothing more is asked of it.
        let _ = store.connection.close().await;
    }
}

impl Store {
    /// The events that a query gives, whose columns are [`COLUMNS`].
    pub(crate) async fn events(&mut self, mut query: QueryBuilder<'_, Postgres>) -> anyhow::Result<Vec<RecordedEvent>> {
        let query: sqlx::query::Query<'_, Postgres, PgArguments> = query.build();
        let rows: Vec<PgRow> = query.fetch_all(&mut self.connection).await.map_err(|error| failed(self.role, error))?;
        Ok(rows.iter().map(recorded).collect::<Result<_, _>>()?)
    }
}

/// What an error of a store's database means, and whose store it is.
pub(crate) fn failed(role: Role, error: sqlx::Error) -> anyhow::Error {
    let whose = format!("the store of the {}", role.title());
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match code.as_str() {
        NOT_ALLOWED => {
            let message = format!("{whose} may not be read by this database user: let it SELECT events");
            Failure::new(Code::Unavailable, message).into()
        }
        NO_TABLE => {
            let message = format!("{whose} has no events table yet: run `sagashop migrate`");
            Failure::new(Code::Failed, message).into()
        }
        _ => anyhow::Error::from(error).context(whose),
    }
}
