//! What a schema may not do to the one before it.
//!
//! Within a version both sides of an upgrade read each other's events: a new program reads what an old one wrote
//! (backward), and for a while an old one reads what a new one writes (forward). So a field may come, if it may be missing;
//! whatever else changes needs a new version, and stored events an upcaster too.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

mod shape;
#[cfg(test)]
mod tests;

use shape::{Limit, Shape};

/// Which of both readers a change breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// A new program reads old events.
    Backward,
    /// An old program reads new events.
    Forward,
    /// Either way.
    Both,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $name:literal, $direction:ident;)+) => {
        /// What must not happen within a version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[$doc])* $rule,)+
        }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)+];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)+
                }
            }

            /// Whom it protects.
            pub fn direction(self) -> Direction {
                match self {
                    $(Self::$rule => Direction::$direction,)+
                }
            }
        }
    };
}

rules! {
    /// A field is gone: who reads it finds nothing.
    FieldRemoved = "field-removed", Forward;
    /// A field must be there, and in what was written before it is not.
    RequiredAdded = "required-added", Backward;
    /// A field may be missing, and who read it before relies on it.
    RequiredDropped = "required-dropped", Forward;
    /// A value is of another type, format or pattern.
    TypeChanged = "type-changed", Both;
    /// A value that was written before is not known any more.
    EnumNarrowed = "enum-narrowed", Backward;
    /// A value is written that was not known before.
    EnumWidened = "enum-widened", Forward;
    /// A limit excludes what was written before.
    LimitNarrowed = "limit-narrowed", Backward;
    /// A limit admits what was excluded before.
    LimitWidened = "limit-widened", Forward;
    /// Nothing may stand there that did before.
    NullForbidden = "null-forbidden", Backward;
    /// Nothing may stand where something always did.
    NullAllowed = "null-allowed", Forward;
    /// Fields that are not known are refused now.
    Closed = "closed", Backward;
    /// An event or one of its versions cannot be read any more.
    Removed = "removed", Backward;
    /// A message goes to another topic.
    TopicChanged = "topic-changed", Both;
    /// A message has another key: its order is another.
    KeyChanged = "key-changed", Both;
}

impl Direction {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change that breaks somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which rule it breaks.
    pub rule: Rule,
    /// Where: `lines[].quantity`.
    pub at: String,
    /// What it does there.
    pub what: String,
}

/// What in `new` breaks readers of `old`, or readers by it.
pub fn compare(old: &Value, new: &Value) -> Vec<Broken> {
    let mut comparison = Comparison { old, new, seen: BTreeSet::new(), found: Vec::new() };
    comparison.schemas("", old, new);
    comparison.found
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    /// Pairs of definitions that are compared already.
    seen: BTreeSet<(String, String)>,
    found: Vec<Broken>,
}

impl<'a> Comparison<'a> {
    fn tell(&mut self, rule: Rule, at: &str, what: impl Into<String>) {
        let at = if at.is_empty() { "(the whole)".to_owned() } else { at.to_owned() };
        let broken = Broken { rule, at, what: what.into() };
        if !self.found.contains(&broken) {
            self.found.push(broken);
        }
    }

    fn schemas(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        if let (Some(a), Some(b)) = (old["$ref"].as_str(), new["$ref"].as_str())
            && !self.seen.insert((a.to_owned(), b.to_owned()))
        {
            return;
        }
        let (old, new) = (Shape::of(self.old, old), Shape::of(self.new, new));
        self.types(at, &old, &new);
        self.values(at, &old, &new);
        self.fields(at, &old, &new);
        self.variants(at, &old, &new);
        if let (Some(old), Some(new)) = (old.items, new.items) {
            self.schemas(&format!("{at}[]"), old, new);
        }
        if let (Some(old), Some(new)) = (old.others, new.others) {
            self.schemas(&format!("{at}.*"), old, new);
        }
    }

    fn types(&mut self, at: &str, old: &Shape<'a>, new: &Shape<'a>) {
        let names = |types: &BTreeSet<&str>| match types.len() {
            0 => "anything".to_owned(),
            _ => types.iter().copied().collect::<Vec<_>>().join(" or "),
        };
        if old.types != new.types {
            self.tell(Rule::TypeChanged, at, format!("was {} and is {}", names(&old.types), names(&new.types)));
        }
        for (what, before, now) in [("format", old.format, new.format), ("pattern", old.pattern, new.pattern)] {
            if before != now {
                let named = |value: Option<&str>| value.unwrap_or("none").to_owned();
                self.tell(Rule::TypeChanged, at, format!("had the {what} {}, has {}", named(before), named(now)));
            }
        }
        match (old.nullable, new.nullable) {
            (true, false) => self.tell(Rule::NullForbidden, at, "may not be null any more"),
            (false, true) => self.tell(Rule::NullAllowed, at, "may be null"),
            _ => {}
        }
    }

    fn values(&mut self, at: &str, old: &Shape<'a>, new: &Shape<'a>) {
        let list = |values: Vec<&String>| values.into_iter().cloned().collect::<Vec<_>>().join(", ");
        match (&old.values, &new.values) {
            (Some(before), Some(now)) => {
                let (gone, come): (Vec<_>, Vec<_>) =
                    (before.difference(now).collect(), now.difference(before).collect());
                if !gone.is_empty() {
                    self.tell(Rule::EnumNarrowed, at, format!("may not be {} any more", list(gone)));
                }
                if !come.is_empty() {
                    self.tell(Rule::EnumWidened, at, format!("may be {}", list(come)));
                }
            }
            (None, Some(now)) => {
                let only = list(now.iter().collect());
                self.tell(Rule::EnumNarrowed, at, format!("may only be {only}"));
            }
            (Some(_), None) => self.tell(Rule::EnumWidened, at, "may be anything of its type"),
            (None, None) => {}
        }
        for limit in Limit::ALL {
            match limit.compare(old.limits.get(limit.name()).copied(), new.limits.get(limit.name()).copied()) {
                std::cmp::Ordering::Equal => {}
                narrower => {
                    let rule = if narrower.is_lt() { Rule::LimitNarrowed } else { Rule::LimitWidened };
                    let now = new.limits.get(limit.name()).map_or("none".to_owned(), ToString::to_string);
                    self.tell(rule, at, format!("{} is {now}", limit.name()));
                }
            }
        }
    }

    fn fields(&mut self, at: &str, old: &Shape<'a>, new: &Shape<'a>) {
        let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for (name, field) in &old.fields {
            match new.fields.get(name) {
                Some(now) => self.schemas(&below(name), field, now),
                None if new.types.contains("object") => self.tell(Rule::FieldRemoved, &below(name), "is gone"),
                // Its whole is something else altogether: that is told.
                None => {}
            }
        }
        for name in new.required.difference(&old.required) {
            self.tell(Rule::RequiredAdded, &below(name), "must be there");
        }
        for name in old.required.difference(&new.required).filter(|name| new.fields.contains_key(*name)) {
            self.tell(Rule::RequiredDropped, &below(name), "may be missing");
        }
        if !new.open && old.open {
            self.tell(Rule::Closed, at, "refuses fields that it does not know");
        }
        if new.open || old.open {
            return;
        }
        for name in new.fields.keys().filter(|name| !old.fields.contains_key(*name)) {
            // A closed reader refuses what it does not know.
            self.tell(Rule::Closed, &below(name), "is new where readers of before refuse what they do not know");
        }
    }

    fn variants(&mut self, at: &str, old: &Shape<'a>, new: &Shape<'a>) {
        for (name, variant) in &old.variants {
            match new.variants.get(name) {
                Some(now) => self.schemas(at, variant, now),
                None => self.tell(Rule::EnumNarrowed, at, format!("may not be {name} any more")),
            }
        }
        for name in new.variants.keys().filter(|name| !old.variants.contains_key(*name)) {
            self.tell(Rule::EnumWidened, at, format!("may be {name}"));
        }
    }
}
