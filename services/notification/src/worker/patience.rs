//! How long things may take, so that one notification is in one hand at a time.

use std::time::Duration;

use chrono::TimeDelta;
use domain::notification::Channel;

/// A channel's times.
///
/// A fresh notification is sent by the instance that queued it, or by nobody until the sweep, of whichever instance,
/// takes it up: it does so only when the first instance must have ended with it, hence
/// `waits_max + sends_max < unattended`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A fresh notification that has waited longer in memory is left to the sweep.
    pub(crate) waits_max: Duration,
    /// An attempt that takes longer has failed.
    pub(crate) sends_max: Duration,
    /// A fresh notification that was not sent within this after it was queued is due for the sweep.
    pub(crate) unattended: TimeDelta,
    /// Attempts in flight. They are recorded together, so it is also the batch.
    pub(crate) at_once_max: usize,
    /// Of those, calls of one webhook.
    pub(crate) of_webhook_max: usize,
}

impl Patience {
    /// The channel's times.
    pub(crate) const fn of(channel: Channel) -> Self {
        match channel {
            Channel::Log => Self {
                waits_max: Duration::from_secs(2),
                sends_max: Duration::from_secs(1),
                unattended: TimeDelta::seconds(5),
                at_once_max: 256,
                of_webhook_max: 256,
            },
            // Mail servers let their clients wait on purpose.
            Channel::Email => Self {
                waits_max: Duration::from_secs(5),
                sends_max: Duration::from_secs(20),
                unattended: TimeDelta::seconds(30),
                at_once_max: 32,
                of_webhook_max: 32,
            },
            Channel::Webhook => Self {
                waits_max: Duration::from_secs(5),
                sends_max: Duration::from_secs(12),
                unattended: TimeDelta::seconds(20),
                at_once_max: 64,
                of_webhook_max: 8,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sweep_waits_until_the_first_hand_must_be_empty() {
        for channel in Channel::ALL {
            let Patience { waits_max, sends_max, unattended, .. } = Patience::of(*channel);
            assert!(waits_max + sends_max + Duration::from_secs(1) < unattended.to_std().unwrap(), "{channel:?}");
        }
    }
}
