//! One store after the other: what it holds, how that is published, what is to be compared with the others.

use super::book;
use super::findings::Findings;
use super::personal;
use super::snapshot::Snapshot;
use super::subjects::{
    Notifications, OrderFacts, Orders, PaymentFacts, Payments, Products, SagaFacts, Sagas, Share, Stocks, Users,
    Webhooks,
};
use super::walk::walk;
use crate::args::ProviderArgs;
use crate::ports::Role;
use runtime::Publish;
use std::collections::HashMap;
use uuid::Uuid;

/// A store's findings, and what of it is compared with others.
pub(super) type Read<T> = anyhow::Result<(Findings, T)>;

async fn begin(
    snapshot: anyhow::Result<Snapshot>,
    role: Role,
    publisher: Option<Box<dyn Publish>>,
    partitions: u16,
) -> anyhow::Result<(Snapshot, Findings)> {
    let mut snapshot = snapshot?;
    let findings = Findings::begin(&mut snapshot, role, publisher, partitions).await?;
    Ok((snapshot, findings))
}

pub(super) async fn sagas(snapshot: anyhow::Result<Snapshot>, partitions: u16) -> Read<HashMap<Uuid, SagaFacts>> {
    let publisher: Box<dyn Publish> = Box::new(orchestrator::Publisher);
    let (mut snapshot, mut findings) = begin(snapshot, Role::Orchestrator, Some(publisher), partitions).await?;
    let sagas = walk(&mut snapshot, &mut findings, Sagas::default()).await?;
    snapshot.close().await;
    Ok((findings, sagas.facts))
}

pub(super) async fn orders(snapshot: anyhow::Result<Snapshot>, partitions: u16) -> Read<HashMap<Uuid, OrderFacts>> {
    let publisher: Box<dyn Publish> = Box::new(order_service::Publisher);
    let (mut snapshot, mut findings) = begin(snapshot, Role::Order, Some(publisher), partitions).await?;
    let orders = walk(&mut snapshot, &mut findings, Orders::default()).await?;
    snapshot.close().await;
    Ok((findings, orders.facts))
}

pub(super) async fn payments(
    snapshot: anyhow::Result<Snapshot>,
    partitions: u16,
    provider: ProviderArgs,
) -> Read<HashMap<Uuid, PaymentFacts>> {
    let publisher: Box<dyn Publish> = Box::new(payment_service::Publisher);
    let (mut snapshot, mut findings) = begin(snapshot, Role::Payment, Some(publisher), partitions).await?;
    // After the snapshot: whatever that has recorded is in the book.
    let book = book::read(&provider).await?;
    let payments = Payments::new(book, snapshot.at);
    let payments = walk(&mut snapshot, &mut findings, payments).await?;
    payments.unasked(&mut snapshot, &mut findings).await?;
    snapshot.close().await;
    Ok((findings, payments.facts))
}

pub(super) async fn products(
    snapshot: anyhow::Result<Snapshot>,
    partitions: u16,
) -> Read<std::collections::HashMap<uuid::Uuid, Vec<Share>>> {
    let publisher: Box<dyn Publish> = Box::new(product_service::Publisher);
    let (mut snapshot, mut findings) = begin(snapshot, Role::Product, Some(publisher), partitions).await?;
    walk(&mut snapshot, &mut findings, Products).await?;
    let stocks = walk(&mut snapshot, &mut findings, Stocks::default()).await?;
    snapshot.close().await;
    Ok((findings, stocks.shares))
}

pub(super) async fn users(snapshot: anyhow::Result<Snapshot>, partitions: u16) -> Read<()> {
    let publisher: Box<dyn Publish> = Box::new(user_service::Publisher);
    let (mut snapshot, mut findings) = begin(snapshot, Role::User, Some(publisher), partitions).await?;
    let users = Users::with_keys_of(personal::with_key(&mut snapshot).await?);
    walk(&mut snapshot, &mut findings, users).await?;
    snapshot.close().await;
    Ok((findings, ()))
}

pub(super) async fn notifications(snapshot: anyhow::Result<Snapshot>, partitions: u16) -> Read<()> {
    // Nothing of it is published.
    let (mut snapshot, mut findings) = begin(snapshot, Role::Notification, None, partitions).await?;
    walk(&mut snapshot, &mut findings, Notifications::default()).await?;
    walk(&mut snapshot, &mut findings, Webhooks).await?;
    snapshot.close().await;
    Ok((findings, ()))
}
