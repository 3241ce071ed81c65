//! The access log.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::{AccessLog, EdgeOptions};

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The lines that these requests leave behind.
async fn logged(access_log: AccessLog, requests: &[(&str, Option<&str>)]) -> Vec<Value> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(lines.clone()).finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let client = TestClient::new(app().options(EdgeOptions { access_log, ..EdgeOptions::default() }).into_endpoint());
    for (path, token) in requests {
        let mut request = client.get(*path).header("X-Request-Id", "cart-17");
        if let Some(token) = token {
            request = request.header("Authorization", *token);
        }
        request.send().await;
    }
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == "access").collect()
}

#[tokio::test]
async fn a_request_leaves_one_line_without_what_is_secret() {
    let token = token(Role::Customer);
    let requests = [("/me?password=hunter2", Some(token.as_str())), ("/health", None), ("/nothing", None)];
    let lines = logged(AccessLog::All, &requests).await;
    let [me, nothing] = &lines[..] else { panic!("{lines:?}") };
    for (name, expected) in [
        ("service", json!("test-service")),
        ("http.request.method", json!("GET")),
        ("http.route", json!("/me")),
        ("url.path", json!("/me")),
        ("http.response.status_code", json!(200)),
        ("request.id", json!("cart-17")),
    ] {
        assert_eq!(me[name], expected, "{name}");
    }
    assert!(me["duration_ms"].is_number() && me["user.id"].is_string() && me["trace.id"].is_string(), "{me}");
    assert_eq!(nothing["http.route"], "unmatched");
    let text = format!("{lines:?}");
    assert!(!text.contains("hunter2") && !text.contains(token.trim_start_matches("Bearer ")), "{text}");
}

#[tokio::test]
async fn only_what_failed_on_our_side_is_logged_unless_more_is_asked_for() {
    let requests = [("/anyone", None), ("/nothing", None), ("/broken", None)];
    let lines = logged(AccessLog::Failures, &requests).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["http.route"], &lines[0]["level"]), (&json!("/broken"), &json!("WARN")));
    assert!(logged(AccessLog::Off, &requests).await.is_empty());
}
