//! The services as their callers see them: ready, of one version, with keys to check tokens by.

use super::{Diagnosis, Verdict};
use crate::args::DoctorArgs;
use crate::ports::Role;
use serde::Deserialize;
use std::time::Duration;

const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What `Date` says is exact to a second; the way takes its time as well.
const CLOCK_WARN_S: i64 = 3;
const CLOCK_FAIL_S: i64 = 30;

/// What `/health` says.
#[derive(Deserialize)]
struct Health {
    service: String,
    version: Option<String>,
    #[serde(default)]
    failing: Vec<String>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<serde_json::Value>,
}

pub(super) async fn check(args: &DoctorArgs, roles: &[Role], diagnosis: &mut Diagnosis) {
    let client = match web::http_client().timeout(ANSWER_MAX).build() {
        Ok(client) => client,
        Err(error) => return diagnosis.unchecked("service", "", error),
    };
    for role in roles {
        health(&client, args, *role, diagnosis).await;
    }
    if roles.contains(&Role::User) {
        keys(&client, &args.url(Role::User), diagnosis).await;
    }
}

async fn health(client: &reqwest::Client, args: &DoctorArgs, role: Role, diagnosis: &mut Diagnosis) {
    const CHECK: &str = "service";
    let url = args.url(role);
    let answer = match client.get(format!("{url}/health/ready")).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let advice = format!("start it (sagashop serve {}), or name its address: see --help", role.name());
            let found = format!("{url} does not answer: {}", reason(&error));
            return diagnosis.add(Verdict::Fail, CHECK, role.name(), found, advice);
        }
    };
    clock(role, answer.headers(), diagnosis);
    let health: Health = match answer.json().await {
        Ok(health) => health,
        Err(error) => {
            let found = format!("{url} is no service of the shop: {}", reason(&error));
            return diagnosis.add(Verdict::Fail, CHECK, role.name(), found, "name its address: see --help");
        }
    };
    if !health.service.starts_with(role.name()) {
        let found = format!("{url} is the {}", health.service);
        diagnosis.add(Verdict::Fail, CHECK, role.name(), found, "name its address: see --help");
    } else if health.failing.is_empty() {
        diagnosis.ok(CHECK, role.name(), format!("{url} is ready"));
    } else {
        let found = format!("{url} is not ready: {}", health.failing.join(", "));
        diagnosis.add(Verdict::Fail, CHECK, role.name(), found, "its log says why");
    }
    match health.version.as_deref() {
        Some(version) if version == web::VERSION => diagnosis.ok("version", role.name(), format!("{version}, as this")),
        version => {
            let found = format!("{}, and this is {}", version.unwrap_or("before versions were told"), web::VERSION);
            let advice = "fine during an upgrade; else run one version everywhere";
            diagnosis.add(Verdict::Warn, "version", role.name(), found, advice);
        }
    }
}

/// The service's clock, by the date of its answer: tokens and deadlines go by it.
fn clock(role: Role, headers: &reqwest::header::HeaderMap, diagnosis: &mut Diagnosis) {
    let date = headers.get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
    let Some(at) = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok()) else { return };
    let seconds = (chrono::Utc::now() - at.to_utc()).num_seconds();
    let verdict = match seconds.abs() {
        s if s >= CLOCK_FAIL_S => Verdict::Fail,
        s if s >= CLOCK_WARN_S => Verdict::Warn,
        _ => return diagnosis.ok("clock", role.name(), "within 2 s of this machine's"),
    };
    let found = format!("{seconds} s from this machine's");
    diagnosis.add(verdict, "clock", role.name(), found, "run NTP (chrony) on both machines");
}

async fn keys(client: &reqwest::Client, url: &str, diagnosis: &mut Diagnosis) {
    const CHECK: &str = "token keys";
    let url = format!("{url}/.well-known/jwks.json");
    let keys = async { client.get(&url).send().await?.error_for_status()?.json::<Keys>().await };
    match keys.await {
        Ok(Keys { keys }) if !keys.is_empty() => diagnosis.ok(CHECK, "user", format!("{} at {url}", keys.len())),
        Ok(_) => {
            let advice = "no token can be checked: sagashop keys rotate";
            diagnosis.add(Verdict::Fail, CHECK, "user", format!("none at {url}"), advice);
        }
        Err(error) => {
            let found = format!("{url}: {}", reason(&error));
            let advice = "services go on with the keys that they know; one that starts now lets nobody in";
            diagnosis.add(Verdict::Fail, CHECK, "user", found, advice);
        }
    }
}

/// The innermost cause: what reqwest says first only repeats the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
