//! What every layer speaks: decisions, money, quantities and typed ids; how old events are read.
//!
//! Nothing here takes the time, makes an id or draws a random number: they are passed in.

mod decide;
mod ids;
mod live;
mod money;
pub mod names;
mod quantity;
pub mod upcast;

pub use decide::{Decide, Idempotent, fold};
pub use ids::{AddressId, NotificationId, OrderId, PaymentId, ProductId, SessionId, UserId, WebhookId};
pub use live::Live;
pub use money::{Currency, Money, MoneyError};
pub use quantity::{Quantity, QuantityError};

#[doc(hidden)]
pub use cqrs_es as __cqrs_es;
