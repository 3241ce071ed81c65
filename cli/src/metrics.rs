//! `sagashop metrics`: what is measured, as the program itself declares it.

use crate::args::MetricsArgs;
use crate::audit::schedule;
use crate::exit::Code;
use crate::gateway;
use crate::output::{self, Format, Row};
use serde::Serialize;
use telemetry::metrics::{Family, Kind, Values};

type Families = &'static [&'static Family];

/// Every metric of every role, by what it is about.
pub const SECTIONS: &[(&str, Families)] = &[
    ("Orders", order_service::measures::FAMILIES),
    ("Sagas", orchestrator::measures::FAMILIES),
    ("Payments", payment_service::measures::FAMILIES),
    ("Notifications", notification_service::measures::FAMILIES),
    ("Products", product_service::measures::FAMILIES),
    ("Passwords", user_service::measures::FAMILIES),
    ("HTTP and gRPC", web::measures::FAMILIES),
    ("Gateway", gateway::measures::FAMILIES),
    ("Audit", schedule::FAMILIES),
    ("Event store", event_store::measures::FAMILIES),
    ("Relay, consumers, projections, timers", runtime::measures::FAMILIES),
    ("Payment provider for trying out", psp_service::measures::FAMILIES),
    ("Process", telemetry::metrics::FAMILIES),
];

const INTRODUCTION: &str = "\
# Metrics

Written by `sagashop metrics --markdown`: the program's own declarations. A test compares.

Each role has them at `/metrics`, in Prometheus' text format; those of `sagashop up` are of all roles, at each port.

* Labels are bounded sets, never ids or paths. `service` is the role.
* Counters and histograms are each process's own: add them up with `sum by (…) (rate(…))`. They begin at zero with the
  process; where all values of a metric's labels are listed here, its series are there before anything was counted.
* What is *from the database* is looked at every five seconds by each process, and is the same for all of a role: take
  `max by (…)`, never the sum. It is right from the first look after a start.
* What a partition's *holder* knows is told by that process alone: take `max by (…)`. A partition that goes to another
  process loses its series here.
* Histograms have the bounds between the two that are named, about two to three a power of ten.
";

/// A metric as one line of a table.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    kind: &'static str,
    labels: Vec<ListedLabel>,
    help: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bounds: Option<&'static [f64]>,
}

#[derive(Serialize)]
struct ListedLabel {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'static str>,
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] = &["METRIC", "TYPE", "LABELS", "WHAT IT TELLS"];

    fn cells(&self) -> Vec<String> {
        let labels = self.labels.iter().map(|label| label.name).collect::<Vec<_>>().join(", ");
        vec![self.name.to_owned(), self.kind.to_owned(), labels, self.help.to_owned()]
    }
}

/// Prints what is measured: a table, JSON, or the page of the documentation.
///
/// # Errors
/// Those of stdout.
pub fn metrics(format: Format, args: &MetricsArgs) -> anyhow::Result<Code> {
    if args.markdown {
        output::text(&page())?;
    } else {
        output::rows(format, &all().map(listed).collect::<Vec<_>>())?;
    }
    Ok(Code::Done)
}

/// `docs/metrics.md`.
pub fn page() -> String {
    let sections =
        SECTIONS.iter().map(|(title, families)| format!("\n## {title}\n\n{}", telemetry::metrics::markdown(families)));
    INTRODUCTION.to_owned() + &sections.collect::<String>()
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Family> {
    SECTIONS.iter().flat_map(|(_, families)| families.iter().copied())
}

fn listed(family: &'static Family) -> Listed {
    let label = |label: &'static telemetry::metrics::Label| match label.values {
        Values::OneOf(values) => ListedLabel { name: label.name, values: Some(values), what: None },
        Values::Open(what) => ListedLabel { name: label.name, values: None, what: Some(what) },
    };
    let bounds = if let Kind::Histogram(bounds) = family.kind { Some(bounds) } else { None };
    let labels = family.labels.iter().map(label).collect();
    Listed { name: family.name, kind: family.kind.as_str(), labels, help: family.help, bounds }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// <https://prometheus.io/docs/practices/naming/>
    #[test]
    fn names_are_as_prometheus_has_them() {
        let mut names = BTreeSet::new();
        for family in all() {
            let name = family.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            assert!(!name.ends_with("_ms") && !name.ends_with("_kb"), "{name} is in no base unit");
            assert!(family.help.ends_with('.') && !family.help.contains('|'), "{name}: {}", family.help);
            if let Kind::Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted() && !bounds.is_empty(), "{name}");
            }
            for label in family.labels {
                let is_id = label.name == "id" || label.name.ends_with("_id");
                assert!(!is_id && label.name != "le", "{name} has the label {}", label.name);
            }
        }
    }
}
