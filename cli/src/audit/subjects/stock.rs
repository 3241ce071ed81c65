use super::first;
use crate::audit::facts::{Fact, Facts};
use crate::audit::findings::Findings;
use crate::audit::snapshot::Snapshot;
use crate::audit::walk::Subject;
use cqrs_es::Aggregate;
use domain::stock::{Event, Stock};
use event_store::RecordedEvent;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Whose commands are remembered in the inbox: their effects name it as their actor.
const COMMANDS_OF: &str = "service:orchestrator";
/// The consumer that they come through.
const CONSUMER: &str = "product";

/// What an order has of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::audit) struct Share {
    pub(in crate::audit) product: Uuid,
    pub(in crate::audit) held: i64,
    pub(in crate::audit) sold: i64,
}

pub(in crate::audit) struct Stocks {
    facts: Facts,
    /// Of the stream that is walked through, by order: what it has, or had and gave back.
    shares: HashMap<Uuid, Share>,
    snapshots: HashMap<Uuid, Saved>,
    /// Streams whose numbers were wrong once: the events after it are wrong too.
    wrong: HashSet<Uuid>,
    /// What the event at hand says that is available after it.
    told: Option<i64>,
}

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    id: Uuid,
    available: i64,
    reserved: i64,
    sold: i64,
    initial: i64,
    restocked: i64,
    stock_sequence: i64,
}

#[derive(FromRow)]
struct Saved {
    aggregate_id: String,
    last_sequence: i64,
    payload: String,
}

impl Stocks {
    pub(in crate::audit) fn new(facts: Facts) -> Self {
        let (shares, snapshots, wrong) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { facts, shares, snapshots, wrong, told: None }
    }
}

impl Subject for Stocks {
    type Aggregate = Stock;
    type Row = Row;

    const TABLE: &'static str = "products";
    const KEY: &'static str = "id";
    const ONCE: &'static [&'static str] = &["stock_opened", "stock_closed"];

    fn key(row: &Row) -> Uuid {
        row.id
    }

    fn sequence(row: &Row) -> i64 {
        row.stock_sequence
    }

    fn difference(&self, row: &Row, state: &Stock) -> Option<&'static str> {
        first([
            ("available", row.available == state.available),
            ("reserved", row.reserved == state.reserved),
            ("sold", row.sold == state.sold),
            ("initial", row.initial == state.initial),
            ("restocked", row.restocked == state.restocked),
        ])
    }

    /// An order of a product that never was begins a stream too.
    fn has_row(state: &Stock) -> bool {
        *state != Stock::default()
    }

    async fn prepare(
        &mut self,
        snapshot: &mut Snapshot,
        ids: &[Uuid],
        page: &[RecordedEvent],
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let query = "SELECT aggregate_id, last_sequence, payload::text AS payload FROM snapshots
                      WHERE aggregate_type = 'stock' AND aggregate_id = ANY($1::uuid[]::text[])";
        for saved in snapshot.rows::<Saved>(query, ids).await? {
            findings.checks.snapshots.checked(1);
            self.snapshots.insert(saved.aggregate_id.parse()?, saved);
        }
        inbox(snapshot, page, findings).await
    }

    fn event(&mut self, id: Uuid, before: &Stock, event: &Event, findings: &mut Findings) {
        self.told = match *event {
            Event::StockRestocked { available, .. }
            | Event::StockAdjusted { available, .. }
            | Event::StockReserved { available, .. }
            | Event::StockReleased { available, .. } => Some(available),
            _ => None,
        };
        let (order, held, sold) = match *event {
            Event::StockReserved { order_id, quantity, .. } => {
                if before.share(order_id).is_some() {
                    findings.checks.commands.violated(|| format!("stock {id}: reserved for order {order_id} again"));
                }
                (order_id.0, i64::from(quantity), 0)
            }
            Event::StockCommitted { order_id, quantity } => (order_id.0, -i64::from(quantity), quantity.into()),
            Event::StockReleased { order_id, quantity, was_sold: false, .. } => (order_id.0, -quantity, 0),
            Event::StockReleased { order_id, quantity, was_sold: true, .. } => (order_id.0, 0, -quantity),
            _ => return,
        };
        let share = self.shares.entry(order).or_insert(Share { product: id, held: 0, sold: 0 });
        (share.held, share.sold) = (share.held + held, share.sold + sold);
        if share.held < 0 || share.sold < 0 {
            findings.checks.commands.violated(|| format!("stock {id}: more given back or sold than order {order} had"));
        }
    }

    fn state(&mut self, id: Uuid, sequence: u64, state: &Stock, findings: &mut Findings) {
        let Stock { available, reserved, sold, initial, restocked, .. } = *state;
        let adds_up = available + reserved + sold == initial + restocked;
        let negative = [available, reserved, sold].into_iter().any(|number| number < 0);
        let told = self.told.take().unwrap_or(available);
        if (negative || !adds_up || told != available) && self.wrong.insert(id) {
            findings.checks.stock.violated(|| {
                format!(
                    "stock {id} event {sequence}: {available} available (the event says {told}) + {reserved} reserved \
                     + {sold} sold of {initial} + {restocked}"
                )
            });
        }
        let saved = self.snapshots.get(&id);
        if saved.is_some_and(|saved| u64::try_from(saved.last_sequence) == Ok(sequence))
            && let Some(saved) = self.snapshots.remove(&id)
            && serde_json::from_str::<Stock>(&saved.payload).ok().as_ref() != Some(state)
        {
            findings.checks.snapshots.violated(|| format!("stock {id}: not the fold up to event {sequence}"));
        }
    }

    fn end(&mut self, id: Uuid, sequence: u64, _state: Stock, findings: &mut Findings) {
        findings.checks.stock.checked(1);
        for (order, share) in self.shares.drain() {
            self.facts.put(order, Fact::Share(share));
        }
        if let Some(saved) = self.snapshots.remove(&id) {
            let last = saved.last_sequence;
            findings
                .checks
                .snapshots
                .violated(|| format!("stock {id}: of event {last}, and event {sequence} is the last"));
        }
    }
}

/// What a command did to the stock was recorded together with the command itself.
async fn inbox(snapshot: &mut Snapshot, page: &[RecordedEvent], findings: &mut Findings) -> anyhow::Result<()> {
    let effects = page.iter().filter(|event| event.metadata.actor == COMMANDS_OF);
    let commands: HashMap<Uuid, &RecordedEvent> = effects.map(|event| (event.metadata.command_id, event)).collect();
    let ids: Vec<Uuid> = commands.keys().copied().collect();
    let query = "SELECT id FROM UNNEST($1) AS id
                  WHERE NOT EXISTS (SELECT FROM inbox i WHERE i.consumer = $2 AND i.command_id = id)";
    let missing: Vec<Uuid> =
        sqlx::query_scalar(query).bind(&ids).bind(CONSUMER).fetch_all(snapshot.connection()).await?;
    for command in missing {
        if let Some(event) = commands.get(&command) {
            let (kind, id, sequence) = (Stock::TYPE, &event.aggregate_id, event.sequence);
            findings
                .checks
                .commands
                .violated(|| format!("{kind} {id} event {sequence}: command {command} is not in the inbox"));
        }
    }
    Ok(())
}
