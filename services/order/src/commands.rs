//! Placing and cancelling orders.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, SubsecRound, Utc};
use domain::order::{self, Command, LINES_MAX, Order, Placed};
use domain::{PaymentMethod, Reason};
use event_store::Answer;
use kernel::{AddressId, OrderId, ProductId, Quantity, UserId};
use runtime::{Commands, Executed, Origin, Precedence};
use uuid::Uuid;
use web::RequestContext;
use web::auth::Identity;

use crate::addresses::Addresses;
use crate::catalogue::Catalogue;
use crate::error::{Error, Fault};
use crate::measures;
use crate::projection::Progress;

/// An order as somebody asks for it, checked as far as that can be done without the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    lines: Vec<(ProductId, Quantity)>,
    address_id: Option<AddressId>,
    payment_method: PaymentMethod,
    form: Form,
}

/// Who asks, in which request, and how long they wait for an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By<'a> {
    pub caller: &'a Identity,
    pub context: &'a RequestContext,
    pub deadline: Option<Instant>,
}

/// Makes the answer that is to be recorded with an order's change, if any is.
pub(crate) type Answering<'a> = &'a (dyn Fn(&Placed) -> Option<Answer> + Send + Sync);

/// How it was asked for: what its fields are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `product_id` and `quantity`.
    Product,
    /// `lines`.
    Lines,
}

impl Form {
    fn field(self, line: usize, name: &str) -> String {
        match self {
            Self::Product => name.to_owned(),
            Self::Lines => format!("lines[{line}].{name}"),
        }
    }
}

impl Wanted {
    /// So many of one product.
    pub fn product(product: Uuid, quantity: i64, payment_method: Option<&str>) -> Result<Self, Error> {
        Self::new(Form::Product, &[(product, quantity)], payment_method)
    }

    /// Several lines, each of another product.
    pub fn lines(lines: &[(Uuid, i64)], payment_method: Option<&str>) -> Result<Self, Error> {
        match lines.len() {
            0 => Err(Error::invalid("lines", order::Error::NoLines.to_string())),
            count if count > LINES_MAX => Err(Error::invalid("lines", order::Error::TooManyLines(count).to_string())),
            _ => Self::new(Form::Lines, lines, payment_method),
        }
    }

    fn new(form: Form, lines: &[(Uuid, i64)], payment_method: Option<&str>) -> Result<Self, Error> {
        let mut products = HashSet::new();
        let line = |(n, (product, quantity)): (usize, &(Uuid, i64))| {
            let product = ProductId(*product);
            if !products.insert(product) {
                let repeated = order::Error::RepeatedProduct(product).to_string();
                return Err(Error::invalid(form.field(n, "product_id"), repeated));
            }
            let quantity = Quantity::try_from(*quantity)
                .map_err(|error| Error::invalid(form.field(n, "quantity"), error.to_string()))?;
            Ok((product, quantity))
        };
        let lines = lines.iter().enumerate().map(line).collect::<Result<_, _>>()?;
        let payment_method = payment_method.map_or_else(|| Ok(PaymentMethod::default()), str::parse);
        let payment_method = payment_method.map_err(|error| Error::invalid("payment_method", error.to_string()))?;
        Ok(Self { lines, address_id: None, payment_method, form })
    }

    /// To this address.
    pub fn to(self, address: Option<Uuid>) -> Self {
        Self { address_id: address.map(AddressId), ..self }
    }
}

/// Orders are one's own: a user id that is given must be the caller's.
pub(crate) fn own(user_id: Option<Uuid>, caller: &Identity) -> Result<(), Error> {
    match user_id {
        Some(user_id) if UserId(user_id) != caller.user_id => Err(Error::Refused(Fault {
            field: "user_id".to_owned(),
            message: "must be your own, or left out".to_owned(),
        })),
        _ => Ok(()),
    }
}

/// Runs the commands that come over the edges.
pub(crate) struct Orders {
    commands: Commands,
    catalogue: Catalogue,
    addresses: Option<Addresses>,
    progress: Arc<Progress>,
    precedence: Arc<Precedence>,
}

impl Orders {
    pub fn new(
        commands: Commands,
        catalogue: Catalogue,
        addresses: Option<Addresses>,
        progress: Arc<Progress>,
        precedence: Arc<Precedence>,
    ) -> Self {
        Self { commands, catalogue, addresses, progress, precedence }
    }

    /// Places an order at the catalogue's present prices. Returns once it is durable.
    pub async fn place(&self, wanted: Wanted, by: By<'_>, answering: Answering<'_>) -> Result<Placed, Error> {
        let _inside = self.precedence.enter();
        let (lines, ()) = tokio::try_join!(self.priced(&wanted, by), self.deliverable(&wanted, by))?;
        let order_id = OrderId(self.commands.clock().new_id());
        if let Some(request) = telemetry::trace::current_span() {
            request.with(|span| span.set("order.id", order_id.0));
        }
        let command = Command::Place {
            order_id,
            user_id: by.caller.user_id,
            lines,
            address_id: wanted.address_id,
            payment_method: wanted.payment_method,
            at: self.now(),
        };
        let (id, origin) = (order_id.to_string(), self.origin(by));
        let answering = |order: &Order, _: u64| answer(order, answering);
        let executed = self.commands.create_answered::<Order>(&id, &origin, command, &answering).await?;
        measures::placed();
        self.placed(executed)
    }

    /// Asks for the order's cancellation. Whether it still comes in time, the saga decides. The read model knows of it
    /// when this returns, unless it lags.
    pub async fn cancel(
        &self,
        order: OrderId,
        reason: Option<&str>,
        by: By<'_>,
        answering: Answering<'_>,
    ) -> Result<Placed, Error> {
        let command = Command::RequestCancellation { reason: reason.map(Reason::from), at: self.now() };
        let visible = |order: &Order, _| match order {
            Order::Placed(order) if by.caller.may_see(order.user_id) => Ok(()),
            _ => Err(order::Error::Unknown),
        };
        let (id, origin) = (order.to_string(), self.origin(by));
        let answering = |order: &Order, _: u64| answer(order, answering);
        let executed = self.commands.execute_answered::<Order>(&id, &origin, command, visible, &answering).await?;
        let order = self.placed(executed)?;
        self.progress.caught_up().await;
        Ok(order)
    }

    /// Refuses what would go to another's address. Where the user service is away the order waits for it, as it does for
    /// the product service: a parcel that went astray does not come back.
    async fn deliverable(&self, wanted: &Wanted, by: By<'_>) -> Result<(), Error> {
        match (&self.addresses, wanted.address_id) {
            (Some(addresses), Some(id)) => addresses.check(by.caller.user_id, id, by.context, by.deadline).await,
            _ => Ok(()),
        }
    }

    /// The lines with their prices, if all of them can be had.
    async fn priced(&self, wanted: &Wanted, by: By<'_>) -> Result<Vec<order::OrderLine>, Error> {
        let quoted = self.catalogue.quote(&wanted.lines, by.context, by.deadline).await?;
        let (mut lines, mut faults, mut stock) = (Vec::with_capacity(quoted.len()), Vec::new(), None);
        for (n, ((product, quantity), quoted)) in wanted.lines.iter().zip(quoted).enumerate() {
            let Some(line) = quoted.line(*product, *quantity) else {
                let (field, message) = match quoted.unit_price {
                    Some(_) => ("quantity", format!("there are {} of this product", quoted.stock)),
                    None => ("product_id", "there is no such product".to_owned()),
                };
                stock.get_or_insert(quoted.stock);
                faults.push(Fault { field: wanted.form.field(n, field), message });
                continue;
            };
            lines.push(line);
        }
        match stock {
            Some(stock) => Err(Error::NotAvailable { stock, faults }),
            None => Ok(lines),
        }
    }

    fn placed(&self, executed: Executed<Order>) -> Result<Placed, Error> {
        if let Some(cursor) = executed.cursor {
            self.progress.wrote(cursor);
        }
        match executed.state {
            Order::Placed(order) => Ok(order),
            Order::Unknown => Err(Error::no_such_order()),
        }
    }

    fn origin(&self, by: By<'_>) -> Origin {
        let actor = format!("user:{}", by.caller.user_id);
        Origin::request(by.context.correlation_id, self.commands.clock().new_id(), actor)
    }

    /// As exact as PostgreSQL keeps it, so that an order looks the same at each asking.
    fn now(&self) -> DateTime<Utc> {
        self.commands.clock().now().trunc_subsecs(6)
    }
}

fn answer(order: &Order, answering: Answering<'_>) -> Option<Answer> {
    match order {
        Order::Placed(order) => answering(order),
        Order::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[track_caller]
    fn refused(wanted: Result<Wanted, Error>, field: &str) {
        match wanted {
            Err(Error::Invalid(fault)) => assert_eq!(fault.field, field, "{fault:?}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_are_named_as_they_were_asked() {
        refused(Wanted::product(id(1), 0, None), "quantity");
        refused(Wanted::product(id(1), 1, Some("4242 4242")), "payment_method");
        refused(Wanted::lines(&[], None), "lines");
        refused(Wanted::lines(&[(id(1), 1), (id(2), -3)], None), "lines[1].quantity");
        refused(Wanted::lines(&[(id(1), 1), (id(2), 1), (id(1), 2)], None), "lines[2].product_id");
        let many = (0..=LINES_MAX as u128).map(|n| (id(n), 1)).collect::<Vec<_>>();
        refused(Wanted::lines(&many, None), "lines");
        assert!(Wanted::lines(&many[1..], Some("tok_flaky")).is_ok());
    }
}
