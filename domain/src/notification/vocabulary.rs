//! The words that notifications are told in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes an enum whose values have names, the same in JSON, in columns and in labels.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$of])* #[serde(rename = $text)] $value,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value,)+];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

named! {
    /// The way to the recipient.
    Channel {
        /// A line in the log.
        Log = "log",
        /// An e-mail.
        Email = "email",
        /// A call of a webhook.
        Webhook = "webhook",
    }
}

named! {
    /// What a notification says. Named as the message that it tells of.
    Kind {
        /// Welcome.
        UserRegistered = "user_registered",
        /// The order has come in.
        OrderCreated = "order_created",
        /// It is paid, and on its way.
        OrderConfirmed = "order_confirmed",
        /// It will not come.
        OrderCancelled = "order_cancelled",
        /// The money has come in.
        PaymentSuccess = "payment_success",
        /// It has not.
        PaymentFailed = "payment_failed",
        /// It goes back.
        PaymentRefunded = "payment_refunded",
    }
}

impl Kind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// Whether the customer is told in any case: what they have bought, what they will not get, and their money.
    pub fn is_mandatory(self) -> bool {
        matches!(self, Self::OrderConfirmed | Self::OrderCancelled | Self::PaymentRefunded)
    }
}

named! {
    /// Where a notification stands.
    Status {
        /// It is to be sent.
        Queued = "queued",
        /// An attempt failed; there will be another.
        Retrying = "retrying",
        /// It was sent.
        Sent = "sent",
        /// It was not, and will not be.
        Failed = "failed",
        /// It was not to be sent after all.
        Skipped = "skipped",
    }
}

named! {
    /// Why an attempt failed: a kind, since a mail server's own words may hold an address.
    Failure {
        /// The other side could not be reached.
        Unreachable = "unreachable",
        /// It did not answer in time.
        TimedOut = "timed_out",
        /// It did not want it now.
        RefusedForNow = "refused_for_now",
        /// It will never want it.
        Refused = "refused",
        /// There is nobody to send it to.
        NoRecipient = "no_recipient",
        /// Its address is one that nothing is sent to: a private network's, for instance.
        ForbiddenAddress = "forbidden_address",
        /// Anything else.
        Other = "other",
    }
}

impl Failure {
    /// Whether another attempt would end alike.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Refused | Self::NoRecipient | Self::ForbiddenAddress)
    }
}

named! {
    /// Why a notification is not sent, as it should be.
    Skip {
        /// The user is gone.
        UserDeleted = "user_deleted",
        /// The user does not want to hear of it this way.
        NotWanted = "not_wanted",
        /// The webhook is gone.
        WebhookRemoved = "webhook_removed",
        /// The webhook is switched off.
        WebhookDisabled = "webhook_disabled",
    }
}
