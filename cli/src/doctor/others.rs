//! What is outside of the promises: Redis, telemetry, and the clocks.

use super::database::Store;
use super::{Diagnosis, Verdict};
use crate::args::ServerArgs;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Of these, the one whose answer came fastest tells best.
const CLOCK_LOOKS: usize = 5;
const CLOCK_WARN_MS: i64 = 500;
const CLOCK_FAIL_MS: i64 = 5_000;

/// The database's clock against this machine's: leases go by the one, deadlines by the services'.
pub(super) async fn clocks(store: &Store, diagnosis: &mut Diagnosis) {
    let mut best: Option<(Duration, TimeDelta)> = None;
    for _ in 0..CLOCK_LOOKS {
        let (asked, began) = (Utc::now(), Instant::now());
        let there: DateTime<Utc> = match sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&store.pool).await {
            Ok(there) => there,
            Err(error) => return diagnosis.unchecked("clock", "database", error),
        };
        let took = began.elapsed();
        if best.is_none_or(|(fastest, _)| took < fastest) {
            let between = TimeDelta::from_std(took / 2).unwrap_or_default();
            best = Some((took, there - (asked + between)));
        }
    }
    let Some((took, apart)) = best else { return };
    let (ms, uncertain) = (apart.num_milliseconds(), took.as_millis() / 2 + 1);
    let found = format!("{ms} ms from this machine's, give or take {uncertain} ms");
    let verdict = match ms.abs() {
        ms if ms >= CLOCK_FAIL_MS => Verdict::Fail,
        ms if ms >= CLOCK_WARN_MS => Verdict::Warn,
        _ => return diagnosis.ok("clock", "database", found),
    };
    let advice = "run NTP (chrony) on both machines: deadlines and tokens go by the services' clocks";
    diagnosis.add(verdict, "clock", "database", found, advice);
}

/// The product cache does without it.
pub(super) async fn redis(servers: &ServerArgs, diagnosis: &mut Diagnosis) {
    let Some(host) = servers.redis_host.as_deref().filter(|host| !host.is_empty()) else { return };
    let at = format!("{host}:{}", servers.redis_port);
    let password = servers.redis_password.as_deref().filter(|password| !password.is_empty());
    match tokio::time::timeout(ANSWER_MAX, ping(&at, password)).await {
        Ok(Ok(())) => diagnosis.ok("redis", at, "answers"),
        failed => {
            let found = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => format!("no answer within {} s", ANSWER_MAX.as_secs()),
            };
            diagnosis.add(Verdict::Warn, "redis", at, found, "products come from PostgreSQL meanwhile: bring it back");
        }
    }
}

/// As Redis' own protocol has it.
async fn ping(at: &str, password: Option<&str>) -> anyhow::Result<()> {
    let bulk =
        |words: &[&str]| -> String { words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect() };
    let mut stream = TcpStream::connect(at).await?;
    let mut request = String::new();
    if let Some(password) = password {
        request += &format!("*2\r\n{}", bulk(&["AUTH", password]));
    }
    request += &format!("*1\r\n{}", bulk(&["PING"]));
    stream.write_all(request.as_bytes()).await?;
    let mut said = Vec::new();
    let mut buffer = [0; 256];
    while !String::from_utf8_lossy(&said).contains("+PONG\r\n") {
        let read = stream.read(&mut buffer).await?;
        anyhow::ensure!(read > 0, "it ends the connection");
        said.extend_from_slice(&buffer[..read]);
        if let Some(refused) = String::from_utf8_lossy(&said).lines().find(|line| line.starts_with('-')) {
            anyhow::bail!("it refuses: {}", refused.trim_start_matches('-'));
        }
        anyhow::ensure!(said.len() < 4_096, "it does not speak Redis' protocol");
    }
    Ok(())
}

/// Spans that cannot be sent are dropped; nothing waits for them.
pub(super) async fn telemetry(servers: &ServerArgs, diagnosis: &mut Diagnosis) {
    let Some(configured) = servers.trace_endpoint() else { return };
    let endpoint = telemetry::otlp_endpoint(&configured);
    let Ok(url) = reqwest::Url::parse(&endpoint) else {
        let advice = "give OTEL_EXPORTER_OTLP_ENDPOINT as http://host:4317";
        return diagnosis.add(Verdict::Warn, "telemetry", endpoint, "is no URL", advice);
    };
    let at = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(4317));
    match tokio::time::timeout(ANSWER_MAX, TcpStream::connect(&at)).await {
        Ok(Ok(_)) => diagnosis.ok("telemetry", at, "is listening"),
        failed => {
            let found = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => format!("no answer within {} s", ANSWER_MAX.as_secs()),
            };
            diagnosis.add(Verdict::Warn, "telemetry", at, found, "spans are dropped meanwhile: start the collector");
        }
    }
}
