//! The docs hold what the saga's machine draws of itself.

use orchestrator::saga::order_fulfilment::{self, CURRENT_VERSION, Definition};

const BEGIN: &str = "<!-- saga graph: begin -->";
const END: &str = "<!-- saga graph: end -->";

/// `UPDATE_DOCS=1` writes the drawing into the page instead.
#[test]
fn the_architecture_page_holds_the_drawing() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture.md");
    let page = std::fs::read_to_string(path).expect("docs/architecture.md");
    let (head, rest) = page.split_once(BEGIN).expect("the mark where the drawing begins");
    let (drawn, tail) = rest.split_once(END).expect("the mark where the drawing ends");
    let definition = Definition::of_version(CURRENT_VERSION).expect("the current one");
    let wanted = format!("\n```mermaid\n{}\n```\n", order_fulfilment::mermaid(definition).trim_end());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{wanted}{END}{tail}")).expect("docs/architecture.md");
    } else {
        assert_eq!(drawn, wanted, "run UPDATE_DOCS=1 cargo test -p orchestrator --test docs");
    }
}
