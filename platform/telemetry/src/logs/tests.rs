use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use uuid::Uuid;

use super::*;

/// Keeps the lines that would be written.
struct Kept(Lines, Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.1.lock().push(self.0.line(event));
    }
}

fn lines(format: Format, work: impl FnOnce()) -> Vec<String> {
    let kept = Arc::default();
    let lines = Lines { colours: Colours(false), ..Lines::new("order", format) };
    let subscriber = tracing_subscriber::registry().with(Kept(lines, Arc::clone(&kept)));
    tracing::subscriber::with_default(subscriber, work);
    std::mem::take(&mut *kept.lock())
}

fn ids() -> Ids {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    Ids::new(Uuid::from_u128(7), Some(traceparent))
}

#[test]
fn a_line_is_one_json_object_with_dotted_fields() {
    let lines = lines(Format::Json, || {
        in_scope(ids(), || {
            let error = "a \"b\"\n\u{1}";
            tracing::info!(target: "test", { order.id = 7, duration_ms = 1.5, ok = true, %error }, "d\\one");
        });
        tracing::warn!(target: "test", { share = f64::NAN, missing = Option::<u64>::None }, "outside");
    });
    let after = |line: &str| line.split_once(",\"level\"").expect("a level").1.to_owned();
    assert!(lines[0].starts_with("{\"timestamp\":\"20"), "{}", lines[0]);
    assert_eq!(
        after(&lines[0]),
        ":\"INFO\",\"service.name\":\"order\",\"target\":\"test\",\"message\":\"d\\\\one\",\
         \"trace.id\":\"0af7651916cd43dd8448eb211c80319c\",\"correlation.id\":\"00000000-0000-0000-0000-000000000007\",\
         \"order.id\":7,\"duration_ms\":1.5,\"ok\":true,\"error\":\"a \\\"b\\\"\\n\\u0001\"}\n"
    );
    assert_eq!(
        after(&lines[1]),
        ":\"WARN\",\"service.name\":\"order\",\"target\":\"test\",\"message\":\"outside\",\"share\":\"NaN\"}\n"
    );
}

#[test]
fn what_an_event_names_itself_is_not_named_twice() {
    let lines = lines(Format::Json, || {
        in_scope(ids(), || tracing::info!(trace.id = "another", "it knows better"));
    });
    assert_eq!(lines[0].matches("trace.id").count(), 1, "{}", lines[0]);
    assert!(lines[0].contains("\"trace.id\":\"another\"") && lines[0].contains("correlation.id"), "{}", lines[0]);
}

#[test]
fn people_read_one_line_without_what_a_terminal_obeys() {
    let lines = lines(Format::Pretty, || {
        in_scope(ids(), || {
            tracing::error!(target: "test", { error = %"red \u{1b}[31m\nnext", count = 3 }, "it failed");
        });
    });
    let (_, line) = lines[0].split_once(' ').expect("a moment first");
    assert_eq!(
        line,
        "ERROR test: it failed error=\"red \\u{1b}[31m\\nnext\" count=3 trace.id=0af7651916cd43dd8448eb211c80319c \
         correlation.id=00000000-0000-0000-0000-000000000007\n"
    );
}

#[tokio::test]
async fn the_ids_stay_with_the_work_across_waiting() {
    let work = scope(ids(), async {
        tokio::task::yield_now().await;
        ids::current()
    });
    assert_eq!(work.await, Some(ids()));
    assert_eq!(ids::current(), None);
}
