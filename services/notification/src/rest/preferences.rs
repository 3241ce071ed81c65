//! What customers want to be told.

use std::collections::BTreeSet;

use domain::notification::{self, preferences};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use web::auth::Bearer;
use web::{Problem, RequestContext, Timestamp};

use super::Tag;
use super::words::Kind;
use crate::commands::Desk;

/// A way to the customer that they have a say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, poem_openapi::Enum)]
#[oai(rename_all = "snake_case")]
enum Way {
    Email,
}

/// One kind of news over one channel.
#[derive(Object)]
struct Preference {
    /// What.
    kind: Kind,
    /// How.
    channel: Way,
    /// Whether it is sent.
    enabled: bool,
    /// Whether it is sent in any case.
    mandatory: bool,
}

/// All that there is to choose.
#[derive(Object)]
struct Preferences {
    /// Each kind over each channel.
    preferences: Vec<Preference>,
    /// When they were last changed. Absent while everything is as it was at first: on.
    #[oai(skip_serializing_if_is_none)]
    changed_at: Option<Timestamp>,
}

/// A wish about one kind of news over one channel.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Wish {
    /// What.
    kind: Kind,
    /// How.
    channel: Way,
    /// Whether it is to be sent.
    enabled: bool,
}

/// All wishes. What is not named is on.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
struct Wishes {
    /// Each kind over each channel at most once.
    #[oai(validator(max_items = 100))]
    preferences: Vec<Wish>,
}

impl Example for Wishes {
    fn example() -> Self {
        let off = |kind| Wish { kind, channel: Way::Email, enabled: false };
        Self { preferences: vec![off(Kind::OrderCreated), off(Kind::PaymentSuccess)] }
    }
}

#[derive(Clone)]
pub(crate) struct Api {
    desk: Desk,
}

#[OpenApi]
impl Api {
    /// Get what you are told, and how
    #[oai(
        path = "/notifications/preferences",
        method = "get",
        operation_id = "getNotificationPreferences",
        tag = "Tag::Preferences"
    )]
    async fn get(&self, caller: Bearer) -> Result<Json<Preferences>, Problem> {
        Ok(Json(shown(&self.desk.preferences(caller.0.user_id).await?)))
    }

    /// Choose what you are told, and how
    ///
    /// The choice replaces the one before. What is mandatory cannot be turned off: 422.
    #[oai(
        path = "/notifications/preferences",
        method = "put",
        operation_id = "putNotificationPreferences",
        tag = "Tag::Preferences"
    )]
    async fn put(
        &self,
        context: RequestContext,
        caller: Bearer,
        body: Json<Wishes>,
    ) -> Result<Json<Preferences>, Problem> {
        let mut named = BTreeSet::new();
        let mut off = BTreeSet::new();
        for (index, wish) in body.0.preferences.into_iter().enumerate() {
            let choice = preferences::Choice { kind: wish.kind.into(), channel: notification::Channel::Email };
            if !named.insert(choice) {
                let field = format!("preferences[{index}]");
                return Err(Problem::bad_request("A choice stands there twice").field(field, "was named before"));
            }
            if !wish.enabled {
                off.insert(choice);
            }
        }
        let by = caller.0.user_id;
        Ok(Json(shown(&self.desk.turn_off(by, off, &self.desk.origin(&context, by)).await?)))
    }
}

impl Api {
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

fn shown(preferences: &notification::Preferences) -> Preferences {
    let shown = |kind: notification::Kind| Preference {
        kind: kind.into(),
        channel: Way::Email,
        enabled: preferences.want(kind.as_str(), notification::Channel::Email),
        mandatory: kind.is_mandatory(),
    };
    Preferences {
        preferences: notification::Kind::ALL.iter().copied().map(shown).collect(),
        changed_at: preferences.changed_at.map(Timestamp),
    }
}
