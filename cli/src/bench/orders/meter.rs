//! What the orders cost: processor time, memory, write-ahead log.

use crate::bench::processes;
use crate::client::Client;
use crate::ports::Role;
use crate::postgres::Server;
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

/// Between looks at the memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the processes of the shop and at its server.
pub(super) struct Meter {
    connection: Option<PgConnection>,
    shop: Vec<u32>,
    postmaster: Option<u32>,
}

/// What was used in a span of time; none where it cannot be known, for example of a server on another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Used {
    pub(super) shop_cpu: Option<Duration>,
    pub(super) postgres_cpu: Option<Duration>,
    pub(super) client_cpu: Option<Duration>,
    /// The most that was seen.
    pub(super) shop_resident_bytes: Option<u64>,
    pub(super) wal_bytes: Option<u64>,
}

impl Meter {
    pub(super) async fn new(client: &Client, server: Option<&Server>) -> anyhow::Result<Self> {
        let ports = Role::ALL.map(|role| client.address(role).port());
        let mut meter = Self { connection: None, shop: processes::listening(&ports), postmaster: None };
        if let Some(server) = server {
            let mut connection = PgConnection::connect_with(&server.options(Role::Order.database())).await?;
            let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
            // On another machine, or in another container, the number belongs to some other program or to none.
            meter.postmaster = u32::try_from(backend).ok().and_then(|pid| processes::parent_of(pid, "postgres"));
            meter.connection = Some(connection);
        }
        Ok(meter)
    }

    /// What is used between two moments.
    pub(super) async fn measure(&mut self, from: Instant, to: Instant) -> anyhow::Result<Used> {
        tokio::time::sleep_until(from.into()).await;
        let before = self.read().await?;
        let mut resident = before.shop_resident_bytes;
        while Instant::now() < to {
            tokio::time::sleep_until((Instant::now() + LOOK_EVERY).min(to).into()).await;
            resident = resident.max(processes::resident_bytes(&self.shop));
        }
        let after = self.read().await?;
        let time = |after: Option<Duration>, before: Option<Duration>| after?.checked_sub(before?);
        Ok(Used {
            shop_cpu: time(after.shop_cpu, before.shop_cpu),
            postgres_cpu: time(after.postgres_cpu, before.postgres_cpu),
            client_cpu: time(after.client_cpu, before.client_cpu),
            shop_resident_bytes: resident,
            wal_bytes: after.wal_bytes.zip(before.wal_bytes).map(|(after, before)| after.saturating_sub(before)),
        })
    }

    /// Since whenever each began.
    async fn read(&mut self) -> anyhow::Result<Used> {
        let wal = match &mut self.connection {
            Some(connection) => {
                let written: i64 =
                    sqlx::query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
                        .fetch_one(connection)
                        .await?;
                u64::try_from(written).ok()
            }
            None => None,
        };
        Ok(Used {
            shop_cpu: processes::cpu(&self.shop),
            postgres_cpu: self.postmaster.and_then(processes::cpu_of_family),
            client_cpu: processes::cpu(&[std::process::id()]),
            shop_resident_bytes: processes::resident_bytes(&self.shop),
            wal_bytes: wal,
        })
    }
}
