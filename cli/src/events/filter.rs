//! Which events are wanted, as conditions of a query.

use super::names;
use super::predicate::Predicate;
use super::unknown;
use crate::args::{FilterArgs, StoreArgs};
use crate::exit::{Code, Failure};
use crate::ports::Role;
use chrono::{DateTime, Utc};
use event_store::OPERATION;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    types: Vec<String>,
    aggregate: Aggregate,
    correlation: Option<String>,
    causation: Option<String>,
    actor: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    from_position: Option<i64>,
    to_position: Option<i64>,
    predicates: Vec<Predicate>,
}

/// Which aggregates are wanted; whatever is not said is any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aggregate {
    pub(crate) kind: Option<&'static str>,
    pub(crate) id: Option<String>,
}

impl Aggregate {
    /// `order`, `ID` or `order/ID`.
    ///
    /// # Errors
    /// When there is no such kind; the nearest is named.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let kind = |name: &str| {
            let found = names::all_kinds().find(|known| *known == name);
            found.ok_or_else(|| unknown("kind of aggregates", name, names::all_kinds()))
        };
        let id = |text: &str| match Uuid::parse_str(text) {
            Ok(id) => id.to_string(),
            Err(_) => text.to_owned(),
        };
        match text.split_once('/') {
            Some((name, "")) => Ok(Self { kind: Some(kind(name)?), id: None }),
            Some((name, text)) => Ok(Self { kind: Some(kind(name)?), id: Some(id(text)) }),
            None if Uuid::parse_str(text).is_ok() => Ok(Self { kind: None, id: Some(id(text)) }),
            None => Ok(Self { kind: Some(kind(text)?), id: None }),
        }
    }
}

impl Filter {
    /// What the command line says; `now` is what its times may be relative to.
    ///
    /// # Errors
    /// When something is named that there is not, or positions are given for several stores.
    pub(crate) fn new(args: &FilterArgs, stores: &StoreArgs, now: DateTime<Utc>) -> anyhow::Result<Self> {
        if (args.from_position.is_some() || args.to_position.is_some()) && stores.roles().len() != 1 {
            let message = "positions are a store's own: name it with --service";
            return Err(Failure::new(Code::Usage, message).into());
        }
        let aggregate = args.aggregate.as_deref().map(Aggregate::parse).transpose()?.unwrap_or_default();
        let known: Vec<String> = names::event_types().collect();
        let unknown_type = args.types.iter().find(|name| !known.contains(name) && aggregate.kind != Some(OPERATION));
        if let Some(name) = unknown_type {
            return Err(unknown("event type", name, known.iter().map(String::as_str)));
        }
        Ok(Self {
            types: args.types.clone(),
            aggregate,
            correlation: args.correlation.map(|id| id.to_string()),
            causation: args.causation.map(|id| id.to_string()),
            actor: args.actor.clone(),
            since: args.since.map(|moment| moment.resolve(now)),
            until: args.until.map(|moment| moment.resolve(now)),
            from_position: args.from_position,
            to_position: args.to_position,
            predicates: args.predicates.clone(),
        })
    }

    /// Whether few events can match, which an index finds: then they are better all found first, and sorted.
    pub(crate) fn is_narrow(&self) -> bool {
        self.correlation.is_some() || self.aggregate.id.is_some()
    }

    /// Adds the conditions to a query on `events AS e` that has a WHERE already.
    pub(crate) fn push<'a>(&'a self, role: Role, query: &mut QueryBuilder<'a, Postgres>) {
        if !self.types.is_empty() {
            query.push(" AND e.event_type = ANY(").push_bind(&self.types).push(")");
        }
        self.push_aggregate(role, query);
        if let Some(id) = &self.correlation {
            query.push(" AND e.metadata ->> 'correlation_id' = ").push_bind(id);
        }
        if let Some(id) = &self.causation {
            query.push(" AND e.metadata ->> 'causation_id' = ").push_bind(id);
        }
        match self.actor.as_deref().map(|actor| (actor, actor.strip_suffix('*'))) {
            Some((_, Some(beginning))) => {
                query.push(" AND starts_with(e.metadata ->> 'actor', ").push_bind(beginning).push(")");
            }
            Some((actor, None)) => {
                query.push(" AND e.metadata ->> 'actor' = ").push_bind(actor);
            }
            None => {}
        }
        if let Some(since) = self.since {
            query.push(" AND e.recorded_at >= ").push_bind(since);
        }
        if let Some(until) = self.until {
            query.push(" AND e.recorded_at < ").push_bind(until);
        }
        if let Some(position) = self.from_position {
            query.push(" AND e.position >= ").push_bind(position);
        }
        if let Some(position) = self.to_position {
            query.push(" AND e.position <= ").push_bind(position);
        }
        for predicate in &self.predicates {
            query.push(" AND ");
            predicate.push(query);
        }
    }

    /// The key begins with the kind: an id alone is looked for in each.
    fn push_aggregate<'a>(&'a self, role: Role, query: &mut QueryBuilder<'a, Postgres>) {
        let Aggregate { kind, id } = &self.aggregate;
        if kind.is_none() && id.is_none() {
            return;
        }
        let kinds: Vec<String> = match kind {
            Some(kind) => vec![(*kind).to_owned()],
            None => names::kinds(role).map(str::to_owned).collect(),
        };
        query.push(" AND e.aggregate_type = ANY(").push_bind(kinds).push(")");
        if let Some(id) = id {
            query.push(" AND e.aggregate_id = ").push_bind(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &FilterArgs) -> String {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        Filter::new(args, &StoreArgs::default(), now).expect_err("refused").to_string()
    }

    #[test]
    fn what_there_is_not_is_refused_with_the_nearest_name() {
        let types = FilterArgs { types: vec!["order_plcaed".to_owned()], ..FilterArgs::default() };
        assert_eq!(refused(&types), "there is no event type order_plcaed: did you mean order_placed?");
        let aggregate = FilterArgs { aggregate: Some("ordr/1".to_owned()), ..FilterArgs::default() };
        assert_eq!(refused(&aggregate), "there is no kind of aggregates ordr: did you mean order?");
        let position = FilterArgs { from_position: Some(1), ..FilterArgs::default() };
        assert!(refused(&position).contains("--service"));
    }

    #[test]
    fn an_aggregate_is_a_kind_or_an_id_or_both() {
        let parsed = |text: &str| Aggregate::parse(text).map(|found| (found.kind, found.id)).expect("understood");
        let id = "0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d";
        assert_eq!(parsed("order"), (Some("order"), None));
        assert_eq!(parsed(&id.to_uppercase()), (None, Some(id.to_owned())));
        assert_eq!(parsed(&format!("stock/{id}")), (Some("stock"), Some(id.to_owned())));
    }
}
