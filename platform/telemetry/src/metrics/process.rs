//! The process as the system sees it, by the names that Prometheus' own libraries use. Linux only; elsewhere there is
//! nothing to read.

use super::{FloatCounters, FloatGauges, Gauges};

pub(super) static CPU_SECONDS: FloatCounters =
    FloatCounters::new("process_cpu_seconds_total", "Processor time of the process, user and system.", &[]);
pub(super) static RESIDENT_BYTES: Gauges =
    Gauges::new("process_resident_memory_bytes", "Memory of the process that is in use.", &[]);
pub(super) static VIRTUAL_BYTES: Gauges =
    Gauges::new("process_virtual_memory_bytes", "Addresses that the process has asked for.", &[]);
pub(super) static OPEN_FDS: Gauges = Gauges::new("process_open_fds", "Open file descriptors.", &[]);
pub(super) static MAX_FDS: Gauges = Gauges::new("process_max_fds", "The limit of open file descriptors.", &[]);
pub(super) static THREADS: Gauges = Gauges::new("process_threads", "Threads of the process.", &[]);
pub(super) static START_SECONDS: FloatGauges =
    FloatGauges::new("process_start_time_seconds", "When the process began, in seconds since 1970.", &[]);

#[cfg(target_os = "linux")]
pub(super) fn look() {
    use rustix::process::{Resource, getrlimit};

    if let Some(used) = proc::times() {
        super::family::raise(&CPU_SECONDS.with(&[]), used.cpu_s);
        if let Some(booted_s) = proc::booted_s() {
            START_SECONDS.with(&[]).set(booted_s + used.started_after_boot_s);
        }
    }
    if let Some(status) = proc::status() {
        RESIDENT_BYTES.with(&[]).set(status.resident_bytes);
        VIRTUAL_BYTES.with(&[]).set(status.virtual_bytes);
        THREADS.with(&[]).set(status.threads);
    }
    if let Some(count) = proc::open_fds() {
        OPEN_FDS.with(&[]).set(count);
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        MAX_FDS.with(&[]).set(i64::try_from(max).unwrap_or(i64::MAX));
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn look() {}

/// proc(5).
#[cfg(target_os = "linux")]
mod proc {
    use std::fs;

    pub(super) struct Times {
        pub(super) cpu_s: f64,
        pub(super) started_after_boot_s: f64,
    }

    pub(super) struct Status {
        pub(super) resident_bytes: i64,
        pub(super) virtual_bytes: i64,
        pub(super) threads: i64,
    }

    pub(super) fn times() -> Option<Times> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in brackets, may hold anything; the third field follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<u32>().ok().map(f64::from);
        let in_a_second = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).ok()?);
        let started = fields.get(22 - 3)?.parse::<u64>().ok()?;
        Some(Times {
            cpu_s: (ticks(14)? + ticks(15)?) / in_a_second,
            #[allow(clippy::cast_precision_loss, reason = "ticks since boot are far below 2^52")]
            started_after_boot_s: started as f64 / in_a_second,
        })
    }

    pub(super) fn booted_s() -> Option<f64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    }

    pub(super) fn status() -> Option<Status> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_ascii_whitespace().next()?.parse::<i64>().ok()
        };
        Some(Status {
            resident_bytes: number("VmRSS")? * 1024,
            virtual_bytes: number("VmSize")? * 1024,
            threads: number("Threads")?,
        })
    }

    pub(super) fn open_fds() -> Option<i64> {
        // One of them is the listing's own.
        let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        i64::try_from(count).ok()
    }
}
