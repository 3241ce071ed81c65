//! `sagashop doctor`: looks at a deployment from outside, and says of each thing how it is and what to do about it.
//!
//! It only reads. What it looks at by SQL it asks in short statements of their own, so that it never becomes the long
//! transaction that it looks for. Whether the promises were kept is another question: that is [`crate::audit`]'s.

mod activity;
mod consumers;
mod database;
mod flow;
mod forms;
mod others;
mod rights;
mod services;
mod settings;
mod topics;

use crate::args::{DoctorArgs, GlobalArgs, Mode, roles_of};
use crate::diagnosis::{Diagnosis, Verdict};
use crate::exit::{Code, Failure};
use crate::ports::Role;
use crate::postgres::Server;
use crate::shop::{BROKER_CONNECTIONS_MAX, BROKER_DATABASE, CONNECTIONS_MAX};
use database::Store;
use std::time::Instant;

/// Checks the deployment and prints what was found.
///
/// # Errors
/// When nothing could be looked at: that is [`Code::Unchecked`].
pub async fn doctor(global: &GlobalArgs, args: &DoctorArgs) -> anyhow::Result<Code> {
    let began = Instant::now();
    let server = match args.database.options(global) {
        Ok(options) => Server::attach(&options).await,
        Err(error) => Err(error),
    };
    let unchecked = |reason: &str| Failure::new(Code::Unchecked, format!("nothing was checked: {reason}"));
    let Some(server) = server.map_err(|error| unchecked(&error.to_string()))? else {
        let none = "no shop runs here: start one with `sagashop up`, or name its database with DATABASE_URL";
        return Err(unchecked(none).into());
    };
    let diagnosis = examine(global, args, &server).await;
    diagnosis.print(global.output)?;
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("Looked at {} in {seconds:.1} s: {}.", server.describe(), diagnosis.summary());
    Ok(diagnosis.code())
}

/// Looks at everything.
pub async fn examine(global: &GlobalArgs, args: &DoctorArgs, server: &Server) -> Diagnosis {
    let roles = roles_of(&args.roles);
    let mut diagnosis = Diagnosis::default();
    let mut stores = Vec::new();
    for role in &roles {
        stores.extend(Store::open(server, *role, &mut diagnosis).await);
    }
    if let Some(store) = stores.first() {
        settings::check(server, store, &mut diagnosis).await;
        activity::check(server, store, &mut diagnosis).await;
        others::clocks(store, &mut diagnosis).await;
    }
    let severity = Severity { mode: global.mode, is_private: !matches!(server, Server::External(_)) };
    for store in &stores {
        database::check(store, &mut diagnosis).await;
        rights::check(store, severity, &mut diagnosis).await;
        flow::check(store, &mut diagnosis).await;
    }
    let topics = topics::check(server, &args.servers, &mut diagnosis).await;
    let mut instances = 0;
    for store in &stores {
        instances += consumers::check(store, &topics, args.servers.partitions, &mut diagnosis).await;
        forms::check(store, &topics, &mut diagnosis).await;
    }
    if let Some(store) = stores.first() {
        let own_topics = args.servers.kafka_broker.as_deref().is_none_or(str::is_empty);
        let each = CONNECTIONS_MAX + if own_topics { BROKER_CONNECTIONS_MAX } else { 0 };
        activity::connections(store, instances * each, &mut diagnosis).await;
    }
    services::check(args, &roles, &mut diagnosis).await;
    others::redis(&args.servers, &mut diagnosis).await;
    others::telemetry(&args.servers, &mut diagnosis).await;
    for store in stores {
        store.close().await;
    }
    diagnosis
}

/// How grave it is where a service may do more than it must.
#[derive(Clone, Copy, Debug)]
struct Severity {
    mode: Mode,
    is_private: bool,
}

impl Severity {
    /// The private cluster of a development has one user, who may do everything.
    fn of_excess(self) -> Verdict {
        match (self.mode, self.is_private) {
            (Mode::Production, _) => Verdict::Fail,
            (Mode::Development, false) => Verdict::Warn,
            (Mode::Development, true) => Verdict::Ok,
        }
    }
}

/// Which verdict a delay has, and how to say it.
fn delay(seconds: f64) -> (Verdict, String) {
    const WARN_S: f64 = 10.0;
    const FAIL_S: f64 = 60.0;
    let verdict = match seconds {
        s if s >= FAIL_S => Verdict::Fail,
        s if s >= WARN_S => Verdict::Warn,
        _ => Verdict::Ok,
    };
    (verdict, format!("{seconds:.1} s"))
}

/// All databases of a shop on this server, the topic log's among them.
fn database_of(role: Option<Role>) -> &'static str {
    role.map_or(BROKER_DATABASE, Role::database)
}
