//! A story as a Mermaid sequence diagram.

use super::tree::{Tree, time};
use crate::ports::Role;

/// Who asks from outside.
const OUTSIDE: &str = "outside";

/// Messages between services are arrows, what a service records by itself is a note; all in the order of their times.
pub(super) fn sequence(tree: &Tree) -> String {
    let mut lines = vec!["sequenceDiagram".to_owned(), format!("    actor {OUTSIDE} as customer or operator")];
    let mut taking_part: Vec<Role> = Vec::new();
    for node in &tree.nodes {
        if !taking_part.contains(&node.role) {
            taking_part.push(node.role);
            lines.push(format!("    participant {}", node.role.name()));
        }
    }
    // Several events that one message led to: the message came once.
    let mut told: Vec<(usize, Role)> = Vec::new();
    for (n, node) in tree.nodes.iter().enumerate() {
        let to = node.role.name();
        match node.cause {
            None => lines.push(format!("    {OUTSIDE}->>{to}: {}", escaped(&node.event.metadata.actor))),
            Some(cause) if tree.nodes[cause].role != node.role && !told.contains(&(cause, node.role)) => {
                told.push((cause, node.role));
                let from = tree.nodes[cause].role.name();
                let after = tree.since_cause(n).map(time).unwrap_or_default();
                let message = node.message.unwrap_or(&tree.nodes[cause].event.event_type);
                lines.push(format!("    {from}->>{to}: {} (+{after})", escaped(message)));
            }
            Some(_) => {}
        }
        lines.push(format!("    Note over {to}: {}", escaped(&node.text)));
    }
    lines.join("\n")
}

/// Without what means something in a diagram.
fn escaped(text: &str) -> String {
    let letters = text.chars().map(|letter| match letter {
        ';' => "#59;".to_owned(),
        '#' => "#35;".to_owned(),
        '<' => "#lt;".to_owned(),
        '>' => "#gt;".to_owned(),
        letter if letter.is_control() => " ".to_owned(),
        letter => letter.to_string(),
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_diagram_is_escaped() {
        assert_eq!(escaped("a; b\n#1 <x>"), "a#59; b #35;1 #lt;x#gt;");
    }
}
