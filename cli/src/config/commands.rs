//! `sagashop config show` and `config check`.

use super::layers::{Effective, Source, load};
use super::{Error, faults, refuse};
use crate::args::ConfigArgs;
use crate::exit::Code;
use crate::output::{self, Format, Row};
use crate::ports::Part;
use serde::Serialize;
use std::ffi::OsString;

/// What stands for a secret.
const MASK: &str = "********";

/// One line of `config show`.
#[derive(Serialize)]
struct Line {
    setting: String,
    /// Masked where it is a secret; none where it is not set.
    value: Option<String>,
    source: String,
    variable: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["setting", "value", "source", "variable"];

    fn cells(&self) -> Vec<String> {
        let value = self.value.clone().unwrap_or_default();
        vec![self.setting.clone(), value, self.source.clone(), self.variable.clone()]
    }
}

/// Shows every setting of a command with its source, secrets masked; `own` are those of this call.
///
/// # Errors
/// The configuration is not accepted, or stdout cannot be written.
pub fn show(format: Format, args: &ConfigArgs, own: &[Effective]) -> anyhow::Result<Code> {
    let loaded = load(line(own, &args.command, &["up"])).map_err(Error::into_failure)?;
    let lines: Vec<Line> = loaded.settings.iter().map(Line::of).collect();
    output::rows(format, &lines)?;
    Ok(Code::Done)
}

/// Checks the configuration as the command would when it starts, without starting it; without a command, for all parts
/// that `serve` runs.
///
/// # Errors
/// What is not accepted, all of it.
pub fn check(format: Format, args: &ConfigArgs, own: &[Effective]) -> anyhow::Result<Code> {
    let lines: Vec<Vec<OsString>> = if args.command.is_empty() {
        // The provider for trying is no part of the shop.
        let parts = Part::ALL.iter().filter(|part| **part != Part::Psp);
        parts.map(|part| line(own, &[], &["serve", part.name()])).collect()
    } else {
        vec![line(own, &args.command, &[])]
    };
    let mut told = Vec::new();
    for line in lines {
        let loaded = load(line).map_err(Error::into_failure)?;
        let faults = faults(&loaded.args).into_iter().map(|fault| fault.to_string());
        for fault in faults {
            if !told.contains(&fault) {
                told.push(fault);
            }
        }
    }
    refuse(&told)?;
    eprintln!("The configuration is accepted.");
    match format {
        Format::Table | Format::Mermaid => {}
        Format::Json | Format::Jsonl => output::text(&serde_json::json!({ "accepted": true }).to_string())?,
    }
    Ok(Code::Done)
}

/// A command line of these words, the program's name before them. What every command knows may stand before the words
/// too, where it was read as our own.
fn line(own: &[Effective], words: &[OsString], otherwise: &[&str]) -> Vec<OsString> {
    let own = own.iter().filter(|setting| setting.source == Source::Flag);
    let own = own.map(|setting| format!("--{}={}", setting.name.replace('_', "-"), setting.values.join(",")).into());
    let words = match words {
        [] => otherwise.iter().map(OsString::from).collect(),
        words => words.to_vec(),
    };
    [OsString::from("sagashop")].into_iter().chain(own).chain(words).collect()
}

impl Line {
    fn of(setting: &Effective) -> Self {
        let value = (!setting.values.is_empty()).then(|| setting.values.join(","));
        let value = value.map(|value| if setting.is_secret { masked(&value) } else { value });
        let source = match &setting.source {
            Source::Flag => "flag".to_owned(),
            Source::Environment => "environment".to_owned(),
            Source::SecretFile(path) => format!("file {} ({}_FILE)", path.display(), setting.variable),
            Source::File(path) => format!("file {}", path.display()),
            Source::Default => "default".to_owned(),
        };
        Self { setting: setting.name.clone(), value, source, variable: setting.variable.clone() }
    }
}

/// Of a URL all but its password and parameters, of any other secret nothing.
fn masked(value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    let Ok(url) = reqwest::Url::parse(value) else { return MASK.to_owned() };
    let (Some(host), None) = (url.host_str(), url.query()) else { return MASK.to_owned() };
    let user = if url.username().is_empty() { String::new() } else { format!("{}:{MASK}@", url.username()) };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{user}{host}{port}{}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_urls_still_say_where() {
        for (value, shown) in [
            ("hunter2", MASK),
            ("", ""),
            ("postgres://shop:hunter2@db.example:5433/shop", "postgres://shop:********@db.example:5433/shop"),
            ("smtp://mail.example:25", "smtp://mail.example:25"),
            ("postgres://db.example/shop?password=hunter2", MASK),
            ("a:hunter2", MASK),
        ] {
            assert_eq!(masked(value), shown);
        }
    }
}
