//! Connections to the mail server that are used again.
//!
//! Not lettre's own pool: it takes back the connection of a send that was dropped, half a mail already said, and hands it
//! to the next one. Here a connection belongs to the send that uses it and comes back only when that has ended well.

use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::failed;
use super::server::Server;
use crate::channel::Unsent;

/// Connections kept; as many as mails are sent at once.
const IDLE_MAX: usize = 32;
/// One that was not used for so long is closed: servers hang up not much later.
const IDLE_FOR: Duration = Duration::from_secs(20);
/// Servers take only so many mails over one connection.
const MAILS_MAX: u32 = 100;
/// A server that does not answer within this to the question whether it is there is not.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// Farewells take no longer.
const QUIT_WITHIN: Duration = Duration::from_secs(1);

/// A server and the connections to it that nobody uses.
pub(super) struct Pool {
    server: Server,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    mails: u32,
    since: Instant,
}

impl Pool {
    pub(super) fn new(server: Server) -> Self {
        Self { server, idle: Mutex::default() }
    }

    /// Sends a mail over a connection that there is, or a new one.
    pub(super) async fn send(&self, mail: &Message) -> Result<(), Unsent> {
        let (mut connection, mails) = match self.alive().await {
            Some(idle) => (idle.connection, idle.mails),
            None => (self.server.connect().await?, 0),
        };
        connection.send(mail.envelope(), &mail.formatted()).await.map_err(|error| failed(&error))?;
        let idle = Idle { connection, mails: mails + 1, since: Instant::now() };
        if idle.mails < MAILS_MAX && self.idle.lock().len() < IDLE_MAX {
            self.idle.lock().push(idle);
        } else {
            close(idle);
        }
        Ok(())
    }

    /// A connection that the server still answers on, the one used last first.
    async fn alive(&self) -> Option<Idle> {
        loop {
            let mut idle = self.idle.lock().pop()?;
            if idle.since.elapsed() > IDLE_FOR {
                close(idle);
                continue;
            }
            let alive = tokio::time::timeout(ALIVE_WITHIN, idle.connection.test_connected()).await;
            if alive.unwrap_or(false) {
                return Some(idle);
            }
        }
    }

    /// Closes what was not used for long.
    pub(super) fn tidy(&self) {
        let old: Vec<Idle> = self.idle.lock().extract_if(.., |idle| idle.since.elapsed() > IDLE_FOR).collect();
        old.into_iter().for_each(close);
    }
}

/// Takes leave, while nobody waits for it.
fn close(mut idle: Idle) {
    tokio::spawn(async move { tokio::time::timeout(QUIT_WITHIN, idle.connection.abort()).await });
}
