//! What e-mails say: see the folder `templates`.

use std::sync::LazyLock;

use domain::notification::Letter;
use minijinja::{AutoEscape, Environment, context};

/// A letter's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) subject: &'static str,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// Longer names are cut.
const NAME_CHARS_MAX: usize = 100;

struct Source {
    name: &'static str,
    text: &'static str,
    html: &'static str,
}

macro_rules! source {
    ($name:literal) => {
        Source {
            name: $name,
            text: include_str!(concat!("../templates/", $name, ".txt")),
            html: include_str!(concat!("../templates/", $name, ".html")),
        }
    };
}

static SOURCES: [Source; 7] = [
    source!("user_registered"),
    source!("order_created"),
    source!("order_confirmed"),
    source!("order_cancelled"),
    source!("payment_success"),
    source!("payment_failed"),
    source!("payment_refunded"),
];

/// For kinds that this version of the shop does not know: better plain words than none.
static NEWS: Source = source!("news");

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    // By the files' names; everything that is no text is escaped.
    templates.set_auto_escape_callback(|name| if name.ends_with(".txt") { AutoEscape::None } else { AutoEscape::Html });
    let layouts = [
        ("layout.txt", include_str!("../templates/layout.txt")),
        ("layout.html", include_str!("../templates/layout.html")),
    ];
    let mut add = |name: String, source: &'static str| {
        if let Err(error) = templates.add_template_owned(name, source) {
            // A test renders every one of them.
            tracing::error!(%error, "a template cannot be read");
        }
    };
    for (name, source) in layouts {
        add(name.to_owned(), source);
    }
    for source in SOURCES.iter().chain([&NEWS]) {
        add(format!("{}.txt", source.name), body(source.text));
        add(format!("{}.html", source.name), source.html);
    }
    templates
});

/// The first line of a text's file is its subject; an empty line follows.
fn subject(text: &'static str) -> &'static str {
    text.split_once('\n').map_or(text, |(subject, _)| subject)
}

fn body(text: &'static str) -> &'static str {
    text.split_once("\n\n").map_or("", |(_, body)| body)
}

/// A letter to somebody of this name.
///
/// # Errors
/// A template that cannot be read: an error of the program.
pub(crate) fn render(letter: &Letter, name: &str) -> Result<Rendered, minijinja::Error> {
    let source = SOURCES.iter().find(|source| source.name == letter.template).unwrap_or(&NEWS);
    let values = context! {
        name => one_line(name),
        order_id => letter.order_id.map(|id| id.to_string()).unwrap_or_default(),
        amount => letter.amount.filter(|amount| amount.minor != 0).map(|amount| amount.to_string()).unwrap_or_default(),
        reason => letter.reason.as_ref().map(|reason| in_words(reason.as_str())).unwrap_or_default(),
    };
    let text = TEMPLATES.get_template(&format!("{}.txt", source.name))?.render(&values)?;
    let html = TEMPLATES.get_template(&format!("{}.html", source.name))?.render(&values)?;
    Ok(Rendered { subject: subject(source.text), text, html })
}

/// A name on one line, without anything that could end a header or a line.
pub(crate) fn one_line(name: &str) -> String {
    let visible = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NAME_CHARS_MAX).collect::<String>();
    match visible.split_whitespace().collect::<Vec<_>>().join(" ") {
        empty if empty.is_empty() => "customer".to_owned(),
        name => name,
    }
}

/// What the shop's own reasons mean to a customer; others, which people wrote, stay as they are.
fn in_words(reason: &str) -> String {
    match reason {
        "out_of_stock" | "insufficient_stock" => "there are not enough in stock".to_owned(),
        "unknown_product" => "we do not sell this product any more".to_owned(),
        "declined" | "card_declined" | "payment_declined" => "your bank declined the payment".to_owned(),
        "insufficient_funds" => "there is not enough money in your account".to_owned(),
        "timeout" | "timed_out" => "it took too long".to_owned(),
        "customer" | "cancelled_by_customer" | "customer_request" => "you wanted it cancelled".to_owned(),
        "voided" => "the order had been cancelled before".to_owned(),
        // A code is made of words.
        code if code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => code.replace('_', " "),
        text => text.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests;
