//! `sagashop health`: whether a part on this machine is ready, by the binary alone.

use crate::args::HealthArgs;
use crate::exit::{Code, Failure};
use crate::output::{self, Format, Row};
use crate::ports::Part;
use serde::Serialize;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Who does not answer within this is not ready.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What a part said.
#[derive(Debug, Serialize)]
struct Line {
    part: &'static str,
    port: u16,
    ready: bool,
    /// Its own words, or why there are none.
    said: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["part", "port", "ready", "said"];

    fn cells(&self) -> Vec<String> {
        vec![self.part.to_owned(), self.port.to_string(), self.ready.to_string(), self.said.clone()]
    }
}

/// Asks the part, or all that listen.
///
/// # Errors
/// Nobody listens, or stdout cannot be written.
pub async fn health(format: Format, args: &HealthArgs) -> anyhow::Result<Code> {
    let parts = match (args.part, args.http_port) {
        (Some(part), port) => vec![(part.name(), port.unwrap_or_else(|| part.http_port()))],
        (None, Some(port)) => vec![("", port)],
        (None, None) => listening().await?,
    };
    let speaks_tls = args.tls_certificate.as_deref().is_some_and(|file| !file.as_os_str().is_empty());
    let mut lines = Vec::new();
    for (part, port) in parts {
        let asked = if speaks_tls { connect(port).await } else { ask(port).await };
        let (ready, said) = asked.unwrap_or_else(|error| (false, format!("{error:#}")));
        lines.push(Line { part, port, ready, said });
    }
    output::rows(format, &lines)?;
    Ok(if lines.iter().all(|line| line.ready) { Code::Done } else { Code::Violated })
}

/// The parts that take connections on their usual ports.
async fn listening() -> Result<Vec<(&'static str, u16)>, Failure> {
    let mut listening = Vec::new();
    for part in Part::ALL {
        if connect(part.http_port()).await.is_ok() {
            listening.push((part.name(), part.http_port()));
        }
    }
    if listening.is_empty() {
        return Err(Failure::new(Code::Violated, "no part of the shop listens on its usual port here"));
    }
    Ok(listening)
}

async fn connect(port: u16) -> anyhow::Result<(bool, String)> {
    tokio::time::timeout(ANSWER_MAX, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await??;
    Ok((true, "takes connections".to_owned()))
}

async fn ask(port: u16) -> anyhow::Result<(bool, String)> {
    let client = web::http_client().timeout(ANSWER_MAX).build()?;
    let answer = client.get(format!("http://127.0.0.1:{port}/health/ready")).send().await?;
    Ok((answer.status().is_success(), answer.text().await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request with this status.
    async fn part(status: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody");
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).await.expect("a request");
            assert!(asked[..length].starts_with(b"GET /health/ready "));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).await.expect("answered");
        });
        port
    }

    #[tokio::test]
    async fn ready_is_who_says_so() {
        for (status, ready) in [("200 OK", true), ("503 Service Unavailable", false)] {
            assert_eq!(ask(part(status).await).await.expect("an answer"), (ready, "{}".to_owned()));
        }
    }

    #[tokio::test]
    async fn who_does_not_listen_is_not_ready() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port").local_addr().expect("bound");
        assert!(ask(free.port()).await.is_err() && connect(free.port()).await.is_err());
    }
}
