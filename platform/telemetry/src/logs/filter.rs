//! What is logged, and changing it while the process runs.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

struct Current {
    handle: reload::Handle<EnvFilter, Registry>,
    text: Mutex<String>,
}

static CURRENT: OnceLock<Current> = OnceLock::new();

/// Directives longer than this are none that anybody means.
const BYTES_MAX: usize = 2_000;

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{directive:?} is neither a level (error, warn, info, debug, trace, off) nor a target with one, such as sqlx=warn"
)]
pub struct BadFilter {
    /// The part that cannot be meant.
    pub directive: String,
}

/// The layer of this filter, by which [`set_filter`] changes what is logged.
pub(crate) fn reloadable(filter: EnvFilter, text: &str) -> reload::Layer<EnvFilter, Registry> {
    let (layer, handle) = reload::Layer::new(filter);
    // Of several set-ups the first is the process's.
    let _ = CURRENT.set(Current { handle, text: Mutex::new(text.to_owned()) });
    layer
}

/// What is logged now, as in `RUST_LOG`; nothing where logging was not set up.
pub fn filter() -> Option<String> {
    CURRENT.get().map(|current| current.text.lock().clone())
}

/// Logs what this filter says from now on, in the whole process.
///
/// # Errors
/// The text is none: nothing has changed.
pub fn set_filter(text: &str) -> Result<(), BadFilter> {
    let new = parse(text)?;
    let Some(current) = CURRENT.get() else { return Ok(()) };
    let mut kept = current.text.lock();
    // It fails only where the subscriber is gone, and then nothing is logged anyway.
    if current.handle.reload(new).is_ok() {
        text.clone_into(&mut kept);
    }
    Ok(())
}

/// Stricter than `RUST_LOG` is read: there a mistyped level is a target, and everything of it is logged.
fn parse(text: &str) -> Result<EnvFilter, BadFilter> {
    let bad = |directive: &str| BadFilter { directive: directive.chars().take(100).collect() };
    if text.len() > BYTES_MAX {
        return Err(bad(text));
    }
    for directive in text.split(',') {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        let is_target = |target: &str| {
            let mut bytes = target.bytes();
            !target.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte))
        };
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        if !levels.contains(&level.to_ascii_lowercase().as_str()) || !target.is_none_or(is_target) {
            return Err(bad(directive));
        }
    }
    EnvFilter::try_new(text).map_err(|_| bad(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_targets_with_levels_are_a_filter() {
        for good in ["info", "OFF", "info,sqlx=warn,order_service::rest=debug", "warn,rskafka=off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, directive) in [
            ("", ""),
            ("inof", "inof"),
            ("info,", ""),
            ("info,sqlx", "sqlx"),
            ("info,sqlx=loud", "sqlx=loud"),
            ("[span{field=1}]=info", "[span{field=1}]=info"),
            ("info, debug", " debug"),
            ("=info", "=info"),
        ] {
            assert_eq!(parse(bad).expect_err(bad).directive, directive);
        }
        assert!(parse(&"a".repeat(BYTES_MAX + 1)).is_err());
    }
}
