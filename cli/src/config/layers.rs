//! The layers, one over the other.

use super::known::{Known, nearest};
use super::{Error, file, secret};
use crate::args::Args;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file that is read where none is named.
const FILE: &str = "sagashop.toml";
/// Variables of ours that are no settings: the cache of a fetched PostgreSQL, what builds are told, and what tests use.
const OTHER_VARIABLES: [&str; 7] = [
    "SAGASHOP_CACHE",
    "SAGASHOP_FAILPOINT",
    "SAGASHOP_REQUIRE_AIOSMTPD",
    "SAGASHOP_REQUIRE_JAEGER",
    "SAGASHOP_REQUIRE_KAFKA",
    "SAGASHOP_TEST_FOLDER",
    "SAGASHOP_VERSION",
];

/// A command with its configuration.
pub struct Loaded {
    /// What to do, and how.
    pub args: Args,
    /// Every setting of the command, by name.
    pub settings: Vec<Effective>,
    /// What is odd and no error.
    pub warnings: Vec<String>,
}

/// One setting as it is in force.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Its name in the file.
    pub name: String,
    /// Its variable.
    pub variable: String,
    /// Whether it is kept from others.
    pub is_secret: bool,
    /// What it is; several where it is a list, none where it is not set.
    pub values: Vec<String>,
    /// Who said so.
    pub source: Source,
}

/// Who said what a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// Its variable.
    Environment,
    /// The file that `NAME_FILE` names.
    SecretFile(PathBuf),
    /// The configuration file.
    File(PathBuf),
    /// Nobody.
    Default,
}

/// What a lower layer says of a setting.
struct Given {
    values: Vec<String>,
    source: Source,
}

/// Reads all layers for a command line, the program's name before it.
///
/// # Errors
/// The command line is not understood or asks for help; the file cannot be read, or has faults.
pub fn load(line: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Loaded, Error> {
    let line: Vec<OsString> = line.into_iter().map(Into::into).collect();
    let mut command = Args::command();
    command.build();
    let known = Known::of(&command);
    // Flags and environment alone say which command it is, and which file.
    let first = matches(Args::command(), &line)?;
    let given = lower_layers(&first, &command, &known).map_err(Error::Settings)?;
    let whole = matches(with_defaults(Args::command(), &known, &given), &line)?;
    let settings = effective(&whole, &known, &given);
    let mut args = Args::from_arg_matches(&whole).map_err(command_line)?;
    let flags = settings.iter().filter(|setting| setting.source == Source::Flag);
    args.global.flags = flags.map(|setting| (setting.variable.clone(), setting.values.join(","))).collect();
    Ok(Loaded { args, settings, warnings: strange_variables(&known) })
}

fn matches(command: Command, line: &[OsString]) -> Result<ArgMatches, Error> {
    command.try_get_matches_from(line).map_err(command_line)
}

fn command_line(error: clap::Error) -> Error {
    Error::CommandLine(Box::new(error.format(&mut Args::command())))
}

/// The words of the command that was asked for, and its own matches.
fn asked(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let (mut words, mut at) = (Vec::new(), matches);
    while let Some((name, below)) = at.subcommand() {
        words.push(name.to_owned());
        at = below;
    }
    (words, at)
}

/// What the files say, by setting: those of secrets before the configuration's.
fn lower_layers(
    matches: &ArgMatches,
    command: &Command,
    known: &Known,
) -> Result<BTreeMap<String, Given>, Vec<String>> {
    let (mut words, leaf) = asked(matches);
    if let Ok(Some(part)) = leaf.try_get_one::<crate::ports::Part>("part") {
        words.push(part.name().to_owned());
    }
    let (mut given, mut faults) = (BTreeMap::new(), Vec::new());
    let path = matches.get_one::<PathBuf>("config").filter(|path| !path.as_os_str().is_empty()).cloned();
    let path = path.or_else(|| Path::new(FILE).exists().then(|| PathBuf::from(FILE)));
    if let Some(path) = path {
        match file::read(&path, command, known) {
            Ok(mut entries) => {
                // The closer to the command, the later, the stronger.
                entries.retain(|entry| words.starts_with(&entry.scope));
                entries.sort_by_key(|entry| entry.scope.len());
                for entry in entries {
                    given.insert(entry.name, Given { values: entry.values, source: Source::File(path.clone()) });
                }
            }
            Err(told) => faults.extend(told),
        }
    }
    for (name, setting) in known.iter().filter(|(_, setting)| setting.is_secret) {
        match secret::from_file(&setting.variable) {
            Ok(Some((path, text))) => {
                given.insert(name.to_owned(), Given { values: vec![text], source: Source::SecretFile(path) });
            }
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(given) } else { Err(faults) }
}

/// The command with the lower layers as its defaults: then flags and environment go before them by themselves.
fn with_defaults(command: Command, known: &Known, given: &BTreeMap<String, Given>) -> Command {
    let ids: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    let command = ids.iter().fold(command, |command, id| {
        let name = known.iter().find(|(_, setting)| setting.id == *id).map(|(name, _)| name);
        match name.and_then(|name| given.get(name)) {
            Some(given) => command.mut_arg(id, |arg| arg.default_values(given.values.clone())),
            None => command,
        }
    });
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    below.iter().fold(command, |command, name| command.mut_subcommand(name, |below| with_defaults(below, known, given)))
}

fn effective(matches: &ArgMatches, known: &Known, given: &BTreeMap<String, Given>) -> Vec<Effective> {
    let (words, leaf) = asked(matches);
    let one = |(name, setting): (&str, &super::known::Setting)| {
        let values = leaf.try_get_raw(&setting.id).ok().flatten().into_iter().flatten();
        let source = match leaf.value_source(&setting.id) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Environment,
            _ => given.get(name).map_or(Source::Default, |given| given.source.clone()),
        };
        Effective {
            name: name.to_owned(),
            variable: setting.variable.clone(),
            is_secret: setting.is_secret,
            values: values.map(|value| value.to_string_lossy().into_owned()).collect(),
            source,
        }
    };
    known.iter().filter(|(_, setting)| setting.is_of(&words)).map(one).collect()
}

/// Variables that look like ours and are not: perhaps a word is misspelt.
fn strange_variables(known: &Known) -> Vec<String> {
    let ours: Vec<&str> = known.iter().map(|(_, setting)| setting.variable.as_str()).chain(OTHER_VARIABLES).collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let strange = names.filter(|name| {
        let plain = name.strip_suffix("_FILE").unwrap_or(name);
        name.starts_with("SAGASHOP_") && !ours.contains(&name.as_str()) && !ours.contains(&plain)
    });
    strange
        .map(|name| {
            let nearest = nearest(&name, ours.iter().copied()).map(|near| format!(": did you mean {near}?"));
            format!("the variable {name} is unknown{}", nearest.unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(line: &[&str]) -> Loaded {
        match load([&["sagashop"], line].concat()) {
            Ok(loaded) => loaded,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn folder(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.toml");
        std::fs::write(&path, text).expect("written");
        (folder, path.to_str().expect("text").to_owned())
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let (_folder, path) = folder("port_offset = 100\nempty = true\n[payment]\nsuccess_rate = 0.5\n");
        // `empty` is of one call only: no setting.
        let Err(Error::Settings(faults)) = load(["sagashop", "up", "--config", &path]) else { panic!("accepted") };
        assert!(faults[0].ends_with("empty is unknown"), "{faults:?}");

        let (_folder, path) = folder("port_offset = 100\n[payment]\nsuccess_rate = 0.5\n");
        let loaded = loaded(&["up", "--config", &path, "--payment-success-rate", "0.25"]);
        let source = |name: &str| {
            let setting = loaded.settings.iter().find(|setting| setting.name == name).expect("known");
            (setting.values.join(","), setting.source.clone())
        };
        assert_eq!(source("payment_success_rate"), ("0.25".to_owned(), Source::Flag));
        assert_eq!(source("port_offset"), ("100".to_owned(), Source::File(PathBuf::from(&path))));
        assert_eq!(source("redis_port"), ("6379".to_owned(), Source::Default));
        let crate::args::Command::Up(up) = &loaded.args.command else { panic!("another command") };
        assert_eq!((up.port_offset, up.payment.payment_success_rate), (100, 0.25));
        assert_eq!(loaded.args.global.flags.len(), 2, "{:?}", loaded.args.global.flags);
    }

    #[test]
    fn the_closer_to_the_command_the_stronger() {
        let text = "lease = '1s'\n[serve]\nlease = '2s'\n[serve.order]\nlease = '3s'\n[serve.user]\nlease = '4s'\n";
        let (_folder, path) = folder(text);
        for (part, lease) in [("order", "3s"), ("user", "4s"), ("product", "2s")] {
            let loaded = loaded(&["serve", part, "--config", &path]);
            let setting = loaded.settings.iter().find(|setting| setting.name == "lease").expect("known");
            assert_eq!(setting.values, [lease], "{part}");
        }
    }

    #[test]
    fn a_file_that_is_named_and_not_there_is_an_error() {
        assert!(matches!(load(["sagashop", "up", "--config", "/nowhere.toml"]), Err(Error::Settings(_))));
    }
}
