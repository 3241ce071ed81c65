//! Where people look at a trace.

use std::sync::OnceLock;

static TEMPLATE: OnceLock<String> = OnceLock::new();

/// Says where traces are looked at: an address with `{trace_id}` in it.
pub(crate) fn set_template(template: String) {
    // A second set-up of the process is refused elsewhere.
    let _ = TEMPLATE.set(template);
}

/// The address at which this trace is looked at, where one was configured.
pub fn trace_url(trace_id: &str) -> Option<String> {
    TEMPLATE.get().map(|template| template.replace("{trace_id}", trace_id))
}
