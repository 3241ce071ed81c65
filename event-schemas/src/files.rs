//! The committed schemas and samples, as they were when the program was built.

/// Each file below `event-schemas/`, with its text: `schemas/order_created.v1.json`.
pub static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The text of one of them.
pub fn file(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}
