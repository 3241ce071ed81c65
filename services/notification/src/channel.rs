//! The ways to a customer.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::notification::{self, Failure, Letter, Skip};
use kernel::{Live, NotificationId};

use crate::config::Config;
use crate::smtp::SmtpChannel;

/// What is to be sent. It names a user and an order, never an address.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The notification: the same at each attempt.
    pub id: NotificationId,
    /// What it says, and to whom.
    pub letter: &'a Letter,
    /// When it was first queued: the same at each attempt.
    pub queued_at: DateTime<Utc>,
}

/// Why a notification was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// The attempt failed. One that fails [for good](Failure::is_permanent) is not made again.
    Failed {
        /// Why: never in the other side's own words, which may hold an address.
        failure: Failure,
        /// The status that it answered with.
        code: Option<u16>,
    },
    /// It is not to be sent.
    Skip(Skip),
}

impl From<Failure> for Unsent {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, code: None }
    }
}

/// A way to a customer.
///
/// A send that takes too long is dropped and counts as a failed attempt, so it must be safe to drop at any await.
/// Delivery is at least once: a process that dies between sending and recording sends again, with the same id.
#[async_trait]
pub trait Channel: Send + Sync + 'static {
    /// Which one it is.
    fn kind(&self) -> notification::Channel;

    /// Sends it.
    ///
    /// # Errors
    /// Why it could not be, or was not to be.
    async fn send(&self, live: Live, notice: Notice<'_>) -> Result<(), Unsent>;

    /// Gives back what is held and not used. Called about once a second.
    fn tidy(&self) {}
}

/// A line in the log for each notification, with ids only.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogChannel;

#[async_trait]
impl Channel for LogChannel {
    fn kind(&self) -> notification::Channel {
        notification::Channel::Log
    }

    async fn send(&self, _: Live, notice: Notice<'_>) -> Result<(), Unsent> {
        let Letter { recipient, template, order_id, .. } = notice.letter;
        tracing::info!(
            notification.id = %notice.id,
            user.id = %recipient,
            order.id = order_id.map(tracing::field::display),
            template,
            "customer notified"
        );
        Ok(())
    }
}

/// The channels that the configuration asks for: the log always, e-mail where there is a server for it.
pub(crate) fn configured(config: &Config) -> anyhow::Result<Vec<Arc<dyn Channel>>> {
    let mut channels: Vec<Arc<dyn Channel>> = vec![Arc::new(LogChannel)];
    if let Some(url) = &config.smtp {
        channels.push(Arc::new(SmtpChannel::new(url, config)?));
    }
    Ok(channels)
}
