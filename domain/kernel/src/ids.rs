//! Typed ids: UUIDs (version 7 where they are made) that cannot be taken for one another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// A user.
    UserId
);
id!(
    /// One login of a user: its refresh tokens are a family.
    SessionId
);
id!(
    /// An entry of a user's address book.
    AddressId
);
id!(
    /// A product; its stock has the same id.
    ProductId
);
id!(
    /// An order; its saga has the same id.
    OrderId
);
id!(
    /// A payment. One per order: see [`PaymentId::of_order`].
    PaymentId
);
id!(
    /// A notification: one per message and channel.
    NotificationId
);
id!(
    /// A webhook: an address that news is posted to.
    WebhookId
);

impl PaymentId {
    /// The payment of an order: the same id at each asking, so that an order is paid once.
    pub fn of_order(order: OrderId) -> Self {
        Self(Uuid::new_v5(&order.0, b"payment"))
    }
}

impl NotificationId {
    /// The notification of a message over a channel: the same id at each asking.
    pub fn of_message(message: Uuid, channel: &str) -> Self {
        Self(Uuid::new_v5(&message, channel.as_bytes()))
    }
}
