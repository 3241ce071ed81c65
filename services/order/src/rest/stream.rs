//! What happens to an order as server-sent events.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use poem::web::sse::Event;
use poem_openapi::ApiResponse;
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON;

use super::bodies::Happening;
use crate::timeline;

/// A comment is sent this often where nothing happens: nobody on the way takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(ApiResponse)]
pub(super) enum Happenings {
    /// Each event has its sequence as `id`, its type as `event`, and what happened as JSON in `data`.
    #[oai(status = 200)]
    Stream(EventStream<BoxStream<'static, Happening>>),
    /// The order has ended, and there is nothing more to tell: do not come again.
    #[oai(status = 204)]
    Ended,
}

impl Happenings {
    pub fn of(happenings: impl Stream<Item = timeline::Happening> + Send + 'static) -> Self {
        let happenings = happenings.map(Happening::from).boxed();
        let stream = EventStream::new(happenings).keep_alive(HEARTBEAT).to_event(|happening: Happening| {
            Event::message(happening.to_json_string()).id(happening.sequence.to_string()).event_type(happening.event)
        });
        Self::Stream(stream)
    }
}
