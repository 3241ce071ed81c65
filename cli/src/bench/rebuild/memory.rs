//! The most memory that this process had, as Linux tells it.

/// Forgets what was before.
pub(super) fn forget() {
    // Where it cannot be forgotten, more is told than was needed.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most since it was forgotten, in MiB.
pub(super) fn most_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}
