//! What commands print, taken down to be compared.

use sagashop::ports::Role;
use serde_json::Value;
use testkit::eventually;
use uuid::Uuid;

use super::{PATIENCE, run, said};
use crate::up::Up;

/// Without any id in it.
fn without_ids(word: &str) -> String {
    const ID: usize = 36;
    let at = (0..word.len()).find(|at| {
        let id = word.get(*at..at + ID);
        id.is_some_and(|id| id.contains('-') && Uuid::parse_str(id).is_ok())
    });
    at.map_or_else(|| word.to_owned(), |at| format!("{}[id]{}", &word[..at], without_ids(&word[at + ID..])))
}

/// What a command printed, without what differs from run to run.
pub(super) fn redacted(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches([',', '"', ';', ':']);
        let replaced = match bare {
            bare if Uuid::parse_str(bare).is_ok() => "[id]",
            bare if chrono::DateTime::parse_from_rfc3339(bare).is_ok() => "[time]",
            bare if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) => "[sha256]",
            bare if bare.starts_with("payment_commands/") => "[letter]",
            bare if bare.starts_with("TXN-") || bare.starts_with("(TXN-") => "[transaction]",
            bare if bare.matches(':').count() == 2 && bare.starts_with(|first: char| first.is_ascii_digit()) => {
                "[clock]"
            }
            _ => return without_ids(word),
        };
        word.replace(bare, replaced)
    };
    // Numbers behind these words differ, too.
    let line = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        let before = |at: usize| at.checked_sub(1).and_then(|before| words.get(before)).map(String::as_str);
        let is_one = |at: usize, word: &String| {
            matches!(before(at), Some("partition" | "ms")) && word.starts_with(|first: char| first.is_ascii_digit())
        };
        let words = words.iter().enumerate().map(|(at, word)| if is_one(at, word) { "[n]" } else { word.as_str() });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Without any figure: offsets, positions, sizes and rates differ from run to run, too.
fn without_figures(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches([',', '"', ';', ':', '(', ')']);
        let is_figure = bare.starts_with(|first: char| first.is_ascii_digit())
            && bare.chars().all(|letter| letter.is_ascii_digit() || "./".contains(letter));
        if is_figure { word.replace(bare, "[n]") } else { word.to_owned() }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A shop, and what commands said of it.
pub(super) struct Golden {
    pub(super) shop: Up,
    pub(super) told: String,
}

impl Golden {
    pub(super) fn of(shop: Up) -> Self {
        Self { shop, told: String::new() }
    }

    /// Runs it, and takes down how it ended and what it printed.
    pub(super) async fn takes(&mut self, arguments: &[&str]) {
        self.take_down(arguments, redacted).await;
    }

    /// The same of what prints figures.
    pub(super) async fn takes_words(&mut self, arguments: &[&str]) {
        self.take_down(arguments, |text| without_figures(&redacted(text))).await;
    }

    async fn take_down(&mut self, arguments: &[&str], redact: impl Fn(&str) -> String) {
        let output = said(self.shop.folder.data(), arguments).await;
        let folder = self.shop.folder.path().to_str().expect("text").to_owned();
        let arguments: Vec<String> =
            arguments.iter().map(|argument| redacted(&argument.replace(&folder, "[folder]"))).collect();
        let text = |bytes: &[u8]| redact(&String::from_utf8_lossy(bytes).replace(&folder, "[folder]"));
        let code = output.status.code().unwrap_or(-1);
        self.told += &format!("$ sagashop {}\n{}\n", arguments.join(" "), text(&output.stdout));
        self.told +=
            &format!("{}=> {code}\n\n", text(&output.stderr) + if output.stderr.is_empty() { "" } else { "\n" });
    }

    pub(super) async fn saga(&self, admin: &str, order: &str) -> Value {
        self.shop.get(Role::Orchestrator, &format!("/sagas/{order}"), admin).await.body
    }

    pub(super) async fn is_in(&self, admin: &str, order: &str, state: &str) {
        eventually(PATIENCE, async || self.saga(admin, order).await["state"] == state).await;
    }

    pub(super) async fn listed(&self, arguments: &[&str]) -> Value {
        run(self.shop.folder.data(), arguments).await.answer
    }
}
