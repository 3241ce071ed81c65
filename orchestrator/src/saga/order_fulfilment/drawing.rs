//! The machine draws itself.

use std::collections::BTreeMap;

use super::State::{Cancelled, Completed, NotStarted};
use super::{Definition, Patience, State, TRANSITIONS};

/// The machine as a Mermaid state diagram, drawn from the table and the parameters that drive it.
pub fn mermaid(definition: &Definition) -> String {
    let mut arrows = BTreeMap::<(State, State), Vec<&str>>::new();
    for (from, on, to) in TRANSITIONS {
        for to in *to {
            arrows.entry((*from, *to)).or_default().push(on.as_str());
        }
    }
    let name = |state: State| if state == NotStarted { "[*]" } else { state.as_str() };
    let mut lines = vec!["stateDiagram-v2".to_owned()];
    for ((from, to), on) in arrows {
        lines.push(format!("{} --> {} : {}", name(from), name(to), on.join(", ")));
    }
    lines.extend([Completed, Cancelled].map(|over| format!("{over} --> [*]")));
    lines.extend(notes(definition));
    lines.join("\n    ") + "\n"
}

/// What each state waits for, and how long.
fn notes(definition: &Definition) -> [String; 5] {
    let Definition { reserve, charge, retriable: Patience { wait_s, wait_s_max, attempts_max }, .. } = definition;
    let again = format!("asked for up to {attempts_max} times, every {wait_s} s to {wait_s_max} s");
    [
        format!("note right of reserving : reserve_stock per line, {} s, undone by release_stock", reserve.wait_s),
        format!("note right of charging : charge_payment (pivot), {} s, taken back by refund_payment", charge.wait_s),
        format!("note right of completing : commit_stock per line and confirm_order, {again}"),
        format!("note right of compensating : refund_payment and release_stock per line, {again}"),
        format!("note right of cancelling : cancel_order, {again}"),
    ]
}
