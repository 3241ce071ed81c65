//! Orders: what somebody wants to buy, and how that ended.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use kernel::{AddressId, Idempotent, Money, MoneyError, OrderId, ProductId, Quantity, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PaymentMethod, Reason};

/// The most lines that an order may have.
pub const LINES_MAX: usize = 100;

/// So many of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// The product.
    pub product_id: ProductId,
    /// How many.
    pub quantity: Quantity,
    /// What one cost when the order was placed.
    pub unit_price: Money,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Accept an order. The prices are the catalogue's, looked up before.
    Place {
        /// The new order.
        order_id: OrderId,
        /// Whose it is.
        user_id: UserId,
        /// 1 to [`LINES_MAX`] lines, each of another product, all in one currency.
        lines: Vec<OrderLine>,
        /// Where it goes.
        address_id: Option<AddressId>,
        /// What is to be charged.
        payment_method: PaymentMethod,
        /// Now.
        at: DateTime<Utc>,
    },
    /// The customer does not want it any more. Whether that comes in time, the saga decides.
    RequestCancellation {
        /// Why.
        reason: Option<Reason>,
        /// Now.
        at: DateTime<Utc>,
    },
    /// It is paid, and the stock is sold.
    Confirm {
        /// Now.
        at: DateTime<Utc>,
    },
    /// Everything was undone; a confirmed order's money was paid back.
    Cancel {
        /// Why.
        reason: Reason,
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An order was accepted.
    OrderPlaced {
        /// The order.
        order_id: OrderId,
        /// Whose it is.
        user_id: UserId,
        /// Its lines.
        lines: Vec<OrderLine>,
        /// Their sum.
        total: Money,
        /// Where it goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address_id: Option<AddressId>,
        /// What is to be charged.
        payment_method: PaymentMethod,
        /// When.
        at: DateTime<Utc>,
    },
    /// The customer does not want it any more.
    CancellationRequested {
        /// Whose it is.
        user_id: UserId,
        /// Why.
        #[serde(default)]
        reason: Option<Reason>,
        /// When.
        at: DateTime<Utc>,
    },
    /// It is paid, and the stock is sold.
    OrderConfirmed {
        /// Whose it is.
        user_id: UserId,
        /// What was paid.
        total: Money,
        /// When.
        at: DateTime<Utc>,
    },
    /// It has ended; nothing is charged, nothing held.
    OrderCancelled {
        /// Whose it was.
        user_id: UserId,
        /// Why.
        reason: Reason,
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::OrderPlaced { .. } => "order_placed",
            Self::CancellationRequested { .. } => "cancellation_requested",
            Self::OrderConfirmed { .. } => "order_confirmed",
            Self::OrderCancelled { .. } => "order_cancelled",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Its saga has not ended.
    Pending,
    /// Paid and sold.
    Confirmed,
    /// Undone.
    Cancelled,
}

impl OrderStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Confirmed, Self::Cancelled];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for OrderStatus {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == name).ok_or(Error::UnknownStatus)
    }
}

/// An order as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Order {
    /// There is no such order.
    #[default]
    Unknown,
    /// It was accepted.
    Placed(Placed),
}

/// An order that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The order.
    pub order_id: OrderId,
    /// Whose it is.
    pub user_id: UserId,
    /// Its lines.
    pub lines: Vec<OrderLine>,
    /// Their sum.
    pub total: Money,
    /// Where it goes.
    #[serde(default)]
    pub address_id: Option<AddressId>,
    /// What is charged.
    pub payment_method: PaymentMethod,
    /// Where it stands.
    pub status: OrderStatus,
    /// Whether the customer asked to cancel it.
    pub cancellation_requested: bool,
    /// Why it was cancelled, once it is.
    pub cancel_reason: Option<Reason>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// When it was confirmed, even if it was cancelled since: the command may come again.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When something last happened to it.
    pub updated_at: DateTime<Utc>,
}

impl Order {
    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::OrderPlaced { order_id, user_id, lines, total, address_id, payment_method, at }) => {
                *self = Self::Placed(Placed {
                    order_id,
                    user_id,
                    lines,
                    total,
                    address_id,
                    payment_method,
                    status: OrderStatus::Pending,
                    cancellation_requested: false,
                    cancel_reason: None,
                    placed_at: at,
                    confirmed_at: None,
                    updated_at: at,
                });
            }
            (Self::Placed(order), event) => order.fold_event(event),
            (Self::Unknown, _) => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match (self, command) {
            (Self::Unknown, Command::Place { order_id, user_id, lines, address_id, payment_method, at }) => {
                let total = total(&lines)?;
                Event::OrderPlaced { order_id, user_id, lines, total, address_id, payment_method, at }
            }
            (Self::Placed(order), Command::Place { user_id, lines, address_id, payment_method, .. }) => {
                let same = (order.user_id, &order.lines, order.address_id, &order.payment_method)
                    == (user_id, &lines, address_id, &payment_method);
                return if same { Ok(Idempotent::AlreadyDone) } else { Err(Error::AlreadyPlaced) };
            }
            (Self::Unknown, _) => return Err(Error::Unknown),
            (Self::Placed(order), command) => return order.decide(command),
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

impl Placed {
    fn fold_event(&mut self, event: Event) {
        self.updated_at = match event {
            Event::OrderPlaced { at, .. } => at,
            Event::CancellationRequested { at, .. } => {
                self.cancellation_requested = true;
                at
            }
            Event::OrderConfirmed { at, .. } => {
                self.status = OrderStatus::Confirmed;
                self.confirmed_at = Some(at);
                at
            }
            Event::OrderCancelled { reason, at, .. } => {
                self.status = OrderStatus::Cancelled;
                self.cancel_reason = Some(reason);
                at
            }
        };
    }

    fn decide(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let user_id = self.user_id;
        let event = match (command, self.status) {
            (Command::RequestCancellation { .. }, OrderStatus::Cancelled) => return Err(Error::AlreadyCancelled),
            (Command::RequestCancellation { .. }, _) if self.cancellation_requested => {
                return Ok(Idempotent::AlreadyDone);
            }
            (Command::RequestCancellation { reason, at }, _) => Event::CancellationRequested { user_id, reason, at },
            (Command::Confirm { at }, OrderStatus::Pending) => Event::OrderConfirmed { user_id, total: self.total, at },
            (Command::Confirm { .. }, OrderStatus::Confirmed) => return Ok(Idempotent::AlreadyDone),
            (Command::Confirm { .. }, OrderStatus::Cancelled) if self.confirmed_at.is_some() => {
                return Ok(Idempotent::AlreadyDone);
            }
            (Command::Confirm { .. }, OrderStatus::Cancelled) => return Err(Error::AlreadyCancelled),
            (Command::Cancel { .. }, OrderStatus::Cancelled) => return Ok(Idempotent::AlreadyDone),
            (Command::Cancel { reason, at }, _) => Event::OrderCancelled { user_id, reason, at },
            (Command::Place { .. }, _) => return Err(Error::AlreadyPlaced),
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

/// The sum of the lines, if they can be an order's.
fn total(lines: &[OrderLine]) -> Result<Money, Error> {
    if lines.len() > LINES_MAX {
        return Err(Error::TooManyLines(lines.len()));
    }
    let mut products = BTreeSet::new();
    let mut total = Money::zero(lines.first().ok_or(Error::NoLines)?.unit_price.currency);
    for line in lines {
        if !products.insert(line.product_id) {
            return Err(Error::RepeatedProduct(line.product_id));
        }
        if line.unit_price.minor <= 0 {
            return Err(Error::NotAPrice(line.unit_price));
        }
        total = total.checked_add(line.unit_price.checked_mul(line.quantity.get())?)?;
    }
    Ok(total)
}

kernel::aggregate!(Order, "order", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id belongs to another order.
    #[error("there is such an order already")]
    AlreadyPlaced,
    /// There is no such order.
    #[error("there is no such order")]
    Unknown,
    /// It has ended.
    #[error("the order is cancelled")]
    AlreadyCancelled,
    /// An order orders something.
    #[error("an order has at least one line")]
    NoLines,
    /// More than [`LINES_MAX`].
    #[error("an order has at most {LINES_MAX} lines, not {0}")]
    TooManyLines(usize),
    /// One product, one line.
    #[error("product {0} stands in more than one line")]
    RepeatedProduct(ProductId),
    /// Nothing is sold for nothing.
    #[error("a price is more than 0, not {}", .0.to_decimal())]
    NotAPrice(Money),
    /// The lines do not add up.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// Not a status.
    #[error("a status is pending, confirmed or cancelled")]
    UnknownStatus,
}

#[cfg(test)]
mod tests {
    use kernel::Currency;

    use super::*;
    use crate::testing::{at, euros, every_command_in_every_state, given, id};

    fn line(product: u128, quantity: i64, unit_price: Money) -> OrderLine {
        OrderLine { product_id: id(product), quantity: quantity.try_into().unwrap(), unit_price }
    }

    fn place_lines(lines: Vec<OrderLine>) -> Command {
        let payment_method = PaymentMethod::default();
        Command::Place { order_id: id(1), user_id: id(2), lines, address_id: Some(id(5)), payment_method, at: at() }
    }

    fn place() -> Command {
        place_lines(vec![line(3, 2, euros(99_995)), line(4, 1, euros(250))])
    }

    fn request() -> Command {
        Command::RequestCancellation { reason: Some("too late".into()), at: at() }
    }

    fn confirm() -> Command {
        Command::Confirm { at: at() }
    }

    fn cancel() -> Command {
        Command::Cancel { reason: "out_of_stock".into(), at: at() }
    }

    #[test]
    fn every_command_does_what_it_must_in_every_state() {
        let other = place_lines(vec![line(3, 1, euros(99_995))]);
        let pending = "- !AlreadyPlaced cancellation_requested order_confirmed order_cancelled";
        let to_cancel = "- !AlreadyPlaced - order_confirmed order_cancelled";
        let cancelled = "- !AlreadyPlaced !AlreadyCancelled !AlreadyCancelled -";
        let sold_before = "- !AlreadyPlaced !AlreadyCancelled - -";
        every_command_in_every_state::<Order>(
            &[place(), other, request(), confirm(), cancel()],
            &[
                ("unknown", vec![], "order_placed order_placed !Unknown !Unknown !Unknown"),
                ("pending", vec![place()], pending),
                ("pending, to be cancelled", vec![place(), request()], to_cancel),
                ("confirmed", vec![place(), confirm()], "- !AlreadyPlaced cancellation_requested - order_cancelled"),
                ("sold, to be cancelled", vec![place(), confirm(), request()], "- !AlreadyPlaced - - order_cancelled"),
                ("cancelled", vec![place(), cancel()], cancelled),
                ("cancelled after all", vec![place(), confirm(), request(), cancel()], sold_before),
            ],
        );
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines() {
        let Order::Placed(order) = given([place()]).0 else { panic!("placed") };
        assert_eq!((order.total, order.status), (euros(200_240), OrderStatus::Pending));
        given::<Order>([place()]).when(confirm()).then([Event::OrderConfirmed {
            user_id: id(2),
            total: euros(200_240),
            at: at(),
        }]);
    }

    #[test]
    fn an_order_of_before_there_were_addresses_is_read() {
        let Order::Placed(order) = given([place()]).0 else { panic!("placed") };
        assert_eq!(order.address_id, Some(id(5)));
        let placed = Event::OrderPlaced {
            order_id: order.order_id,
            user_id: order.user_id,
            lines: order.lines,
            total: order.total,
            address_id: None,
            payment_method: order.payment_method,
            at: at(),
        };
        let written = serde_json::to_value(&placed).unwrap();
        assert!(written["order_placed"].get("address_id").is_none(), "{written}");
        assert_eq!(serde_json::from_value::<Event>(written).unwrap(), placed);
    }

    #[test]
    fn a_confirmation_that_comes_again_after_the_cancellation_changes_nothing() {
        given::<Order>([place(), confirm(), cancel()]).when(confirm()).then_already_done();
        given::<Order>([place(), cancel()]).when(confirm()).then_refused(Error::AlreadyCancelled);
    }

    #[test]
    fn a_cancellation_keeps_its_reason() {
        let reason = Reason::from("out_of_stock");
        given::<Order>([place()]).when(cancel()).then([Event::OrderCancelled {
            user_id: id(2),
            reason: reason.clone(),
            at: at(),
        }]);
        let Order::Placed(order) = given([place(), cancel()]).0 else { panic!("placed") };
        assert_eq!((order.status, order.cancel_reason), (OrderStatus::Cancelled, Some(reason)));
    }

    #[test]
    fn what_cannot_be_an_order_is_refused() {
        let new = given::<Order>([]);
        new.when(place_lines(vec![])).then_refused(Error::NoLines);
        let many = |lines: u128| (1..=lines).map(|product| line(product, 1, euros(1))).collect::<Vec<_>>();
        new.when(place_lines(many(101))).then_refused(Error::TooManyLines(101));
        given::<Order>([place_lines(many(100))]);
        new.when(place_lines(vec![line(3, 1, euros(5)), line(3, 1, euros(5))]))
            .then_refused(Error::RepeatedProduct(id(3)));
        new.when(place_lines(vec![line(3, 1, euros(0))])).then_refused(Error::NotAPrice(euros(0)));
        let dollars = Money::new(5, Currency::USD);
        new.when(place_lines(vec![line(3, 1, euros(5)), line(4, 1, dollars)]))
            .then_refused(Error::Money(MoneyError::Mixed(Currency::EUR, Currency::USD)));
        new.when(place_lines(vec![line(3, 2, euros(i64::MAX))])).then_refused(Error::Money(MoneyError::TooLarge));
    }

    #[test]
    fn statuses_have_names() {
        for status in OrderStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert_eq!("paid".parse::<OrderStatus>(), Err(Error::UnknownStatus));
    }
}
