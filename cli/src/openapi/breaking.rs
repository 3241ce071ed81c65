//! What in a new document breaks the clients of the one before it.
//!
//! A client sends what the old document allows, and reads what it promises: so a request may ask for nothing more, and an
//! answer must hold nothing less and nothing unheard of. New paths, parameters and fields that need not be there break
//! nobody.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Both documents, and what was found.
struct Comparison<'a> {
    before: &'a Value,
    after: &'a Value,
    /// Pairs of named schemas that are compared already, or are being so.
    seen: BTreeSet<(String, String, Direction)>,
    found: Vec<String>,
}

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Request,
    Answer,
}

use Direction::{Answer, Request};

/// Limits of which a request must not see a narrower one: their names, and whether a larger number is narrower.
const LIMITS: [(&str, bool); 8] = [
    ("minimum", true),
    ("maximum", false),
    ("minLength", true),
    ("maxLength", false),
    ("minItems", true),
    ("maxItems", false),
    ("minProperties", true),
    ("maxProperties", false),
];

/// What in `after` breaks clients of `before`, each as where and what.
pub fn breaking(before: &Value, after: &Value) -> Vec<String> {
    let mut comparison = Comparison { before, after, seen: BTreeSet::new(), found: Vec::new() };
    for (path, operations) in members(&before["paths"]) {
        for (method, operation) in members(operations) {
            let at = format!("{} {path}", method.to_uppercase());
            match after["paths"].get(path).and_then(|operations| operations.get(method)) {
                Some(new) => comparison.operation(&at, operation, new),
                None => comparison.tell(&at, "is gone"),
            }
        }
    }
    comparison.found
}

impl<'a> Comparison<'a> {
    fn tell(&mut self, at: &str, what: impl AsRef<str>) {
        let found = format!("{at} {}", what.as_ref());
        if !self.found.contains(&found) {
            self.found.push(found);
        }
    }

    fn operation(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        let is_open = |operation: &Value| list(&operation["security"]).iter().all(|need| members(need).count() == 0);
        if is_open(old) && !is_open(new) {
            self.tell(at, "needs authentication");
        }
        self.parameters(at, list(&old["parameters"]), list(&new["parameters"]));
        self.body(at, &old["requestBody"], &new["requestBody"]);
        for (status, answer) in members(&old["responses"]) {
            let at = format!("{at}: {status}");
            match new["responses"].get(status) {
                Some(now) => {
                    let (answer, now) = (definition(self.before, answer), definition(self.after, now));
                    self.content(&at, &answer["content"], &now["content"], Answer);
                    for (header, _) in members(&answer["headers"]) {
                        if now["headers"].get(header).is_none() {
                            self.tell(&at, format!("has no header {header} any more"));
                        }
                    }
                }
                None => self.tell(&at, "is answered no more"),
            }
        }
    }

    fn parameters(&mut self, at: &str, old: &'a [Value], new: &'a [Value]) {
        let same = |a: &Value, b: &Value| {
            let name = |parameter: &Value| parameter["name"].as_str().map(str::to_ascii_lowercase);
            // How a parameter of the path is called is nobody's concern.
            a["in"] == b["in"] && (name(a) == name(b) || a["in"] == "path")
        };
        for parameter in old {
            let at = format!("{at}: {}", parameter["name"].as_str().unwrap_or_default());
            match new.iter().find(|other| same(parameter, other)) {
                Some(now) => {
                    if now["required"] == true && parameter["required"] != true {
                        self.tell(&at, "is required now");
                    }
                    self.schema(&at, &parameter["schema"], &now["schema"], Request);
                }
                None => self.tell(&at, "is gone"),
            }
        }
        for parameter in new.iter().filter(|now| now["required"] == true && !old.iter().any(|other| same(now, other))) {
            self.tell(at, format!("needs {}", parameter["name"].as_str().unwrap_or_default()));
        }
    }

    fn body(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        match (old.is_null(), new.is_null()) {
            (true, true) => {}
            (true, false) if new["required"] == true => self.tell(at, "needs a body"),
            (true, false) => {}
            (false, true) => self.tell(at, "takes no body any more"),
            (false, false) => {
                if new["required"] == true && old["required"] != true {
                    self.tell(at, "needs its body");
                }
                self.content(&format!("{at}: body"), &old["content"], &new["content"], Request);
            }
        }
    }

    fn content(&mut self, at: &str, old: &'a Value, new: &'a Value, direction: Direction) {
        for (kind, old) in members(old) {
            match new.get(kind) {
                Some(new) => self.schema(at, &old["schema"], &new["schema"], direction),
                None => self.tell(at, format!("is {kind} no more")),
            }
        }
    }

    /// Both schemas where they are defined; nothing where the same pair was looked at before.
    fn resolved(&mut self, old: &'a Value, new: &'a Value, way: Direction) -> Option<(&'a Value, &'a Value)> {
        if let (Some(a), Some(b)) = (old["$ref"].as_str(), new["$ref"].as_str())
            && !self.seen.insert((a.to_owned(), b.to_owned(), way))
        {
            return None;
        }
        Some((definition(self.before, old), definition(self.after, new)))
    }

    fn schema(&mut self, at: &str, old: &'a Value, new: &'a Value, way: Direction) {
        let Some((old, new)) = self.resolved(old, new, way) else { return };
        // Anything at all may be there: then anything fits, and nothing was promised.
        let unlimited = |schema: &Value| members(schema).all(|(name, _)| name == "description" || name == "title");
        if unlimited(if way == Request { new } else { old }) {
            return;
        }
        for name in ["type", "format"] {
            if old[name] != new[name] {
                self.tell(at, format!("changed its {name} from {} to {}", old[name], new[name]));
            }
        }
        let (may_be_null, may_be_null_now) = (old["nullable"] == true, new["nullable"] == true);
        match way {
            Request if may_be_null && !may_be_null_now => self.tell(at, "must not be null any more"),
            Answer if !may_be_null && may_be_null_now => self.tell(at, "may be null now"),
            Request | Answer => {}
        }
        self.values(at, old, new, way);
        self.properties(at, old, new, way);
        for name in ["items", "additionalProperties"] {
            if old[name].is_object() && new[name].is_object() {
                self.schema(&format!("{at}[]"), &old[name], &new[name], way);
            }
        }
        for name in ["allOf", "oneOf", "anyOf"] {
            self.variants(at, name, list(&old[name]), list(&new[name]), way);
        }
    }

    /// Which values there are: an enumeration, and limits.
    fn values(&mut self, at: &str, old: &'a Value, new: &'a Value, way: Direction) {
        // The values that one side may not be ready for: those asked for no more, those never heard of.
        let (known, used) = if way == Request { (&new["enum"], &old["enum"]) } else { (&old["enum"], &new["enum"]) };
        if known.is_array() {
            let strange = list(used).iter().filter(|value| !list(known).contains(value));
            let strange: Vec<String> = strange.map(ToString::to_string).collect();
            match way {
                _ if used.is_null() => self.tell(at, "has another set of values"),
                Request if !strange.is_empty() => self.tell(at, format!("takes no {} any more", strange.join(", "))),
                Answer if !strange.is_empty() => self.tell(at, format!("may be {} now", strange.join(", "))),
                Request | Answer => {}
            }
        }
        if way == Answer {
            return;
        }
        for (name, larger_is_narrower) in LIMITS {
            let Some(now) = new[name].as_f64() else { continue };
            let narrower = |before: f64| if larger_is_narrower { now > before } else { now < before };
            if old[name].as_f64().is_none_or(narrower) {
                self.tell(at, format!("is limited more closely: {name} {}", new[name]));
            }
        }
        if !new["pattern"].is_null() && new["pattern"] != old["pattern"] {
            self.tell(at, "has another pattern");
        }
    }

    fn properties(&mut self, at: &str, old: &'a Value, new: &'a Value, way: Direction) {
        for (name, property) in members(&old["properties"]) {
            match new["properties"].get(name) {
                Some(now) => self.schema(&format!("{at}.{name}"), property, now, way),
                None => self.tell(&format!("{at}.{name}"), "is gone"),
            }
        }
        let (before, now) = (list(&old["required"]), list(&new["required"]));
        let (more, fewer) = if way == Request { (now, before) } else { (before, now) };
        for name in more.iter().filter(|name| !fewer.contains(name)).filter_map(Value::as_str) {
            let what = if way == Request { "is required now" } else { "may be missing now" };
            // One that is gone altogether was told.
            if new["properties"].get(name).is_some() {
                self.tell(&format!("{at}.{name}"), what);
            }
        }
    }

    fn variants(&mut self, at: &str, name: &str, old: &'a [Value], new: &'a [Value], way: Direction) {
        let of_same = old.iter().zip(new);
        let fits = match (name, way) {
            ("allOf", _) => old.len() == new.len(),
            (_, Request) => new.len() >= old.len(),
            (_, Answer) => new.len() <= old.len(),
        };
        if !fits {
            self.tell(at, format!("has other {name} variants"));
        }
        for (old, new) in of_same {
            self.schema(at, old, new, way);
        }
    }
}

/// Where a reference leads, and on from there.
fn definition<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    /// Longer chains are circles.
    const REFERENCES_MAX: usize = 16;
    let mut at = schema;
    for _ in 0..REFERENCES_MAX {
        let Some(pointer) = at["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) else { break };
        at = document.pointer(pointer).unwrap_or(&Value::Null);
    }
    at
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
