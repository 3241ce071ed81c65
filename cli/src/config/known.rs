//! What can be set: every flag that has a variable.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};
use std::collections::{BTreeMap, BTreeSet};

/// Names less alike than this are no suggestion.
const LIKENESS_MIN: f64 = 0.6;

/// One setting, as its flag defines it.
#[derive(Clone)]
pub(super) struct Setting {
    /// The identity of its argument.
    pub id: String,
    /// Its flag, without the dashes before it.
    pub flag: String,
    /// Its variable.
    pub variable: String,
    /// Whether it is kept from others.
    pub is_secret: bool,
    /// The commands that know it, each as its words.
    pub commands: BTreeSet<Vec<String>>,
    parser: ValueParser,
    is_switch: bool,
    ignores_case: bool,
    delimiter: Option<char>,
}

/// All settings, by their names in the file.
pub(super) struct Known(BTreeMap<String, Setting>);

impl Known {
    /// The settings of a command and of all below it.
    pub(super) fn of(command: &Command) -> Self {
        let mut settings = BTreeMap::new();
        collect(command, &[], &mut settings);
        Self(settings)
    }

    /// A setting and its own name, by a name in the file: that of its flag, or that of its variable.
    pub(super) fn find(&self, name: &str) -> Option<(&str, &Setting)> {
        let of_variable = || self.iter().find(|(_, setting)| setting.variable.eq_ignore_ascii_case(name));
        self.0.get_key_value(name).map(|(name, setting)| (name.as_str(), setting)).or_else(of_variable)
    }

    /// Every setting with its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(name, setting)| (name.as_str(), setting))
    }

    /// The name that was perhaps meant.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.0.keys().map(String::as_str))
    }
}

/// The most similar of some names, if it is similar enough.
pub(crate) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
    let (likeness, nearest) = among.map(|other| (likeness(other), other)).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness >= LIKENESS_MIN).then_some(nearest)
}

fn collect(command: &Command, path: &[String], into: &mut BTreeMap<String, Setting>) {
    for arg in command.get_arguments() {
        let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env().and_then(|name| name.to_str())) else {
            continue;
        };
        let setting = into.entry(flag.replace('-', "_")).or_insert_with(|| Setting::of(arg, flag, variable));
        setting.commands.insert(path.to_vec());
    }
    for below in command.get_subcommands() {
        let path: Vec<String> = path.iter().cloned().chain([below.get_name().to_owned()]).collect();
        collect(below, &path, into);
    }
}

impl Setting {
    fn of(arg: &Arg, flag: &str, variable: &str) -> Self {
        Self {
            id: arg.get_id().to_string(),
            flag: flag.to_owned(),
            variable: variable.to_owned(),
            is_secret: arg.is_hide_env_values_set(),
            commands: BTreeSet::new(),
            parser: arg.get_value_parser().clone(),
            is_switch: matches!(arg.get_action(), ArgAction::SetTrue),
            ignores_case: arg.is_ignore_case_set(),
            delimiter: arg.get_value_delimiter(),
        }
    }

    /// Whether a command takes it: it is the command's own, or everybody's.
    pub(super) fn is_of(&self, command: &[String]) -> bool {
        self.commands.contains(command) || self.commands.contains(&Vec::new())
    }

    /// Checks values as the command line would.
    pub(super) fn check(&self, values: &[String]) -> Result<(), String> {
        if self.delimiter.is_none() && values.len() != 1 {
            return Err("expected one value".to_owned());
        }
        if self.is_switch {
            let fits = matches!(values[0].as_str(), "true" | "false");
            return if fits { Ok(()) } else { Err("expected true or false".to_owned()) };
        }
        let mut arg = Arg::new("value").long(self.flag.clone()).value_parser(self.parser.clone());
        arg = arg.action(ArgAction::Append).ignore_case(self.ignores_case);
        if let Some(delimiter) = self.delimiter {
            arg = arg.value_delimiter(delimiter);
        }
        let checker = Command::new("check").no_binary_name(true).arg(arg);
        let line = values.iter().map(|value| format!("--{}={value}", self.flag));
        checker.try_get_matches_from(line).map(|_| ()).map_err(|error| reason(&error, self.is_secret))
    }
}

/// The first line of what the command line says of a value; of a secret, not even that.
fn reason(error: &clap::Error, is_secret: bool) -> String {
    if is_secret {
        return "the value is not valid".to_owned();
    }
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn known() -> Known {
        Known::of(&crate::args::Args::command())
    }

    #[test]
    fn the_settings_are_the_flags_that_have_a_variable() {
        let known = known();
        let (_, broker) = known.find("kafka_broker").expect("known");
        assert_eq!((broker.flag.as_str(), broker.variable.as_str()), ("kafka-broker", "KAFKA_BROKER"));
        assert!(broker.is_of(&["up".to_owned()]) && !broker.is_of(&["saga".to_owned(), "graph".to_owned()]));
        assert!(known.find("internal_token").expect("known").1.is_secret);
        assert!(known.find("log_format").expect("known").1.is_of(&["saga".to_owned(), "graph".to_owned()]));
        assert!(known.find("seed").expect("known").1.is_switch);
        assert!(known.find("orders").is_none(), "of one call only");
    }

    #[test]
    fn a_setting_means_the_same_for_every_command() {
        // The file knows it by one name and checks it by one rule.
        fn gather(command: &Command, into: &mut BTreeMap<String, BTreeSet<(String, bool)>>) {
            for arg in command.get_arguments() {
                if let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env()) {
                    let meaning = (variable.to_string_lossy().into_owned(), arg.is_hide_env_values_set());
                    into.entry(flag.to_owned()).or_default().insert(meaning);
                }
            }
            command.get_subcommands().for_each(|below| gather(below, into));
        }
        let mut meanings = BTreeMap::new();
        gather(&crate::args::Args::command(), &mut meanings);
        let torn: Vec<_> = meanings.iter().filter(|(_, meanings)| meanings.len() > 1).collect();
        assert!(torn.is_empty(), "{torn:?}");
    }

    #[test]
    fn values_are_checked_as_on_the_command_line() {
        let known = known();
        let check = |name: &str, value: &str| known.find(name).expect("known").1.check(&[value.to_owned()]);
        assert_eq!(check("kafka_partitions", "8").err(), None);
        assert!(check("partitions", "0").is_err_and(|reason| reason.contains("1..=256")));
        assert_eq!(check("kafka_sasl_mechanism", "plain").err(), None);
        assert!(check("seed", "yes").is_err_and(|reason| reason == "expected true or false"));
        assert!(check("payment_latency", "5 days").is_err_and(|reason| reason.contains("500ms")));
    }

    #[test]
    fn the_nearest_name_is_suggested_and_no_far_one() {
        let known = known();
        assert_eq!(known.nearest("kafka_brokr"), Some("kafka_broker"));
        assert_eq!(known.nearest("intrenal_token"), Some("internal_token"));
        assert_eq!(known.nearest("moon_phase_zzz"), None);
    }
}
