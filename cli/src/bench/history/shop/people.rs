//! What people do: the shop's own, and its customers.

use super::{HOUR, OVER_AFTER, STOCK, Shop, What};
use crate::bench::history::mix::{Fate, PRODUCTS};
use crate::ports::Role;
use domain::order::{self, OrderLine};
use domain::product::{self, Price};
use domain::{PaymentMethod, Reason, stock};
use event_store::clock::Clock;
use kernel::{OrderId, ProductId, Quantity, UserId};
use runtime::Origin;
use std::sync::Arc;

impl Shop {
    /// Puts the n-th product into the catalogue; behind the others one that there is none of.
    pub(super) fn launch(&mut self, n: usize) -> anyhow::Result<()> {
        let id = ProductId(self.clock.new_id());
        let product = self.dice.product(n);
        let create = product::Command::Create {
            product_id: id,
            name: product.name.parse()?,
            price: Price::try_from(product.price)?,
            category: Some(product.category.parse()?),
            sku: None,
            at: self.clock.now(),
        };
        let quantity = if n < PRODUCTS { STOCK } else { 0 };
        let origin = Origin::request(self.clock.new_id(), self.clock.new_id(), "system");
        let clock = Arc::clone(&self.clock);
        let (name, open) = (id.to_string(), stock::Command::Open { product_id: id, quantity });
        let created = self.products.decide(&name, create, &origin, clock.as_ref())?;
        self.recorded(Role::Product, created)?;
        let opened = self.stocks.decide(&name, open, &origin, clock.as_ref())?;
        self.recorded(Role::Product, opened)?;
        self.prices.push((id, product.price));
        if n < PRODUCTS {
            self.later(1_000, What::Launch(n + 1));
        }
        Ok(())
    }

    pub(super) fn register(&mut self, n: u64) -> anyhow::Result<()> {
        let clock = Arc::clone(&self.clock);
        let email = format!("customer-{n}@generated.example");
        let enrolled = self.enrolment.enrol(&format!("Customer {n}"), &email, clock.as_ref())?;
        self.batch.person_key(enrolled.user_id.0, &enrolled.key, clock.now());
        for append in enrolled.appends {
            self.record(Role::User, append)?;
        }
        self.customers.push(enrolled.user_id);
        if n + 1 < self.plan.customers {
            self.later(10_000, What::Register(n + 1));
        } else {
            self.foresee_order(0);
        }
        Ok(())
    }

    /// Each order has its own part of the time, and comes somewhere in it.
    fn foresee_order(&mut self, n: u64) {
        if n >= self.plan.orders {
            return;
        }
        let (from, until) = (self.clock.micros().max(self.plan.from + HOUR), self.plan.until - 2 * HOUR);
        let part = (until - from) / i64::try_from(self.plan.orders - n).unwrap_or(i64::MAX);
        let within = self.dice.about(part / 2);
        self.at(from + within, What::Place(n));
    }

    pub(super) fn place(&mut self, n: u64) -> anyhow::Result<()> {
        let (fate, order_id) = (self.dice.fate(), OrderId(self.clock.new_id()));
        let user_id = self.customers[self.dice.one_of(self.customers.len())];
        let mut lines = self.dice.lines(&self.prices[..PRODUCTS]);
        if fate == Fate::OutOfStock {
            // It was there when they looked.
            let (product_id, unit_price) = self.prices[PRODUCTS];
            lines.push(OrderLine { product_id, quantity: Quantity::try_from(1)?, unit_price });
        }
        let command = order::Command::Place {
            order_id,
            user_id,
            lines,
            address_id: None,
            payment_method: fate.token().parse::<PaymentMethod>()?,
            at: self.clock.now(),
        };
        self.ordered_by(user_id, order_id, command)?;
        let over = match fate {
            Fate::CancelledAtOnce(after) | Fate::CancelledLater(after) => {
                self.later(after, What::Cancel(order_id, user_id));
                after + OVER_AFTER
            }
            _ => OVER_AFTER,
        };
        self.later(over, What::Forget(order_id));
        self.foresee_order(n + 1);
        Ok(())
    }

    pub(super) fn cancel(&mut self, order_id: OrderId, user_id: UserId) -> anyhow::Result<()> {
        let reason = Some(Reason::from("changed my mind"));
        self.ordered_by(user_id, order_id, order::Command::RequestCancellation { reason, at: self.clock.now() })
    }

    fn ordered_by(&mut self, user: UserId, order: OrderId, command: order::Command) -> anyhow::Result<()> {
        let clock = Arc::clone(&self.clock);
        let origin = Origin::request(clock.new_id(), clock.new_id(), format!("user:{user}"));
        let decided = self.orders.decide(&order.to_string(), command, &origin, clock.as_ref())?;
        self.recorded(Role::Order, decided)?;
        Ok(())
    }

    pub(super) fn restock(&mut self, product: ProductId) -> anyhow::Result<()> {
        let clock = Arc::clone(&self.clock);
        let origin = Origin::request(clock.new_id(), clock.new_id(), "system");
        let command = stock::Command::Restock { quantity: Quantity::try_from(STOCK)?, at: clock.now() };
        let decided = self.stocks.decide(&product.to_string(), command, &origin, clock.as_ref())?;
        self.recorded(Role::Product, decided)?;
        self.ordered.remove(&product);
        Ok(())
    }
}
