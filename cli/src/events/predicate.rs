//! Predicates on what stands in an event: `payload.total >= 100`. What was typed becomes parameters of the query, never
//! a part of its text.

use kernel::Currency;
use sqlx::{Postgres, QueryBuilder};
use std::str::FromStr;

const EXPECTED: &str =
    "expected PATH OPERATOR VALUE, such as payload.total >= 100; operators are = != < <= > >= and ~ (contains)";

/// Longer ones first: `>=` begins with `>`.
const OPERATORS: [(&str, Operator); 8] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("=", Operator::Equal),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("~", Operator::Contains),
];

/// A value's text: what is compared where a text is given.
const TEXT: &str = "CASE json_typeof(p.v) WHEN 'string' THEN p.v #>> '{}' END";

/// Something that holds of an event, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    column: &'static str,
    path: Vec<String>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// It is there, and not null.
    IsThere,
    Compare(Operator, Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Below,
    AtMost,
    Above,
    AtLeast,
    Contains,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    /// A number, as it was written.
    Number(String),
    Text(String),
    /// `true`, `false`.
    Truth(bool),
    Null,
}

impl FromStr for Predicate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let end = text.find(|letter: char| letter.is_whitespace() || "=!<>~".contains(letter)).unwrap_or(text.len());
        let (path, rest) = (&text[..end], text[end..].trim_start());
        let mut path = path.split('.').map(str::to_owned);
        let column = match path.next().as_deref() {
            Some("payload") => "payload",
            Some("metadata") => "metadata",
            _ => return Err(format!("{EXPECTED}; a path begins with payload. or metadata.")),
        };
        let path: Vec<String> = path.collect();
        if path.is_empty() || path.iter().any(String::is_empty) {
            return Err(format!("{EXPECTED}; a path names what is in the {column}, such as {column}.total"));
        }
        let test = if rest.is_empty() { Test::IsThere } else { Test::parse(rest)? };
        Ok(Self { column, path, test })
    }
}

impl Test {
    fn parse(text: &str) -> Result<Self, String> {
        let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)));
        let (operator, value) = found.ok_or(EXPECTED)?;
        let operand = Operand::parse(value.trim())?;
        let is_ordering = !matches!(operator, Operator::Equal | Operator::Unequal);
        match operand {
            Operand::Truth(_) | Operand::Null if is_ordering => {
                Err("true, false and null are compared with = and != alone".to_owned())
            }
            // Digits within a text.
            Operand::Number(digits) if operator == Operator::Contains => {
                Ok(Self::Compare(operator, Operand::Text(digits)))
            }
            operand => Ok(Self::Compare(operator, operand)),
        }
    }
}

impl Operand {
    fn parse(text: &str) -> Result<Self, String> {
        let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        match (text, quoted) {
            ("", _) => Err(EXPECTED.to_owned()),
            (_, Some(inner)) => Ok(Self::Text(inner.to_owned())),
            ("true" | "false", _) => Ok(Self::Truth(text == "true")),
            ("null", _) => Ok(Self::Null),
            _ if text.starts_with('"') => {
                serde_json::from_str(text).map(Self::Text).map_err(|_| format!("{text} is no text in quotes"))
            }
            _ if serde_json::from_str::<serde_json::Number>(text).is_ok() => Ok(Self::Number(text.to_owned())),
            _ if text.starts_with(['=', '!', '<', '>', '~']) => Err(EXPECTED.to_owned()),
            // A word: an id, a status.
            _ => Ok(Self::Text(text.to_owned())),
        }
    }
}

impl Operator {
    fn sql(self) -> &'static str {
        match self {
            Self::Equal | Self::Unequal | Self::Contains => "=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl Predicate {
    /// Adds it to a query's conditions on `events AS e`.
    pub(crate) fn push<'a>(&'a self, query: &mut QueryBuilder<'a, Postgres>) {
        query.push("(SELECT ");
        match &self.test {
            Test::IsThere => {
                query.push("json_typeof(p.v) <> 'null'");
            }
            Test::Compare(Operator::Unequal, operand) => {
                query.push("p.v IS NOT NULL AND NOT coalesce(");
                compare(query, Operator::Equal, operand);
                query.push(", false)");
            }
            Test::Compare(operator, operand) => compare(query, *operator, operand),
        }
        query.push(" FROM (SELECT ");
        self.value(query);
        query.push(" AS v OFFSET 0) AS p)");
    }

    /// What stands at the path. A payload is named by its event, which is not a part of the path that people know.
    fn value<'a>(&'a self, query: &mut QueryBuilder<'a, Postgres>) {
        let column = self.column;
        if column == "metadata" {
            query.push("e.metadata #> ").push_bind(&self.path);
            return;
        }
        query.push("coalesce(e.payload #> ").push_bind(&self.path);
        query.push(", CASE json_typeof(e.payload) WHEN 'object' THEN (SELECT t.value #> ").push_bind(&self.path);
        query.push(" FROM json_each(e.payload) AS t LIMIT 1) END)");
    }
}

fn compare<'a>(query: &mut QueryBuilder<'a, Postgres>, operator: Operator, operand: &'a Operand) {
    match operand {
        Operand::Number(number) => {
            query.push("CASE json_typeof(p.v) WHEN 'number' THEN (p.v #>> '{}')::numeric WHEN 'object' THEN ");
            money(query);
            query.push(" END ").push(operator.sql()).push(" ").push_bind(number.as_str()).push("::text::numeric");
        }
        Operand::Text(text) if operator == Operator::Contains => {
            query.push("position(").push_bind(text.as_str()).push("::text IN p.v #>> '{}') > 0");
        }
        Operand::Text(text) => {
            query.push(TEXT).push(" COLLATE \"C\" ").push(operator.sql()).push(" ");
            query.push_bind(text.as_str()).push("::text");
        }
        Operand::Truth(truth) => {
            query.push("json_typeof(p.v) = 'boolean' AND p.v #>> '{}' = ").push_bind(truth.to_string());
        }
        Operand::Null => {
            query.push("coalesce(json_typeof(p.v), 'null') = 'null'");
        }
    }
}

/// An amount as its decimal: of 1990 cents, 19.90.
fn money<'a>(query: &mut QueryBuilder<'a, Postgres>) {
    let (codes, units): (Vec<String>, Vec<i64>) =
        Currency::not_hundredths().map(|(code, digits)| (code.to_owned(), 10_i64.pow(digits))).unzip();
    query.push("CASE WHEN json_typeof(p.v -> 'minor') = 'number' THEN (p.v ->> 'minor')::numeric / coalesce((");
    query.push_bind(units).push("::bigint[])[array_position(").push_bind(codes);
    query.push("::text[], p.v ->> 'currency')], 100) END");
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Execute;

    fn sql(text: &str) -> String {
        let predicate: Predicate = text.parse().expect("a predicate");
        let mut query = QueryBuilder::new("");
        predicate.push(&mut query);
        query.build().sql().to_owned()
    }

    #[test]
    fn what_was_typed_is_no_part_of_the_query() {
        for text in [
            "payload.x'); DROP TABLE events; -- = 1",
            "payload.name = '); DROP TABLE events; --",
            "metadata.actor ~ '); DROP TABLE events; --",
        ] {
            if let Ok(predicate) = text.parse::<Predicate>() {
                let mut query = QueryBuilder::new("");
                predicate.push(&mut query);
                assert!(!query.build().sql().contains("DROP"), "{text}");
            }
        }
        assert_eq!(sql("payload.total >= 100"), sql("payload.other>=7"));
    }

    #[test]
    fn predicates_are_read() {
        let parse = |text: &str| text.parse::<Predicate>();
        let test = |text: &str| parse(text).expect("a predicate").test;
        assert_eq!(test("payload.a = 5"), Test::Compare(Operator::Equal, Operand::Number("5".to_owned())));
        assert_eq!(test("payload.a='5'"), Test::Compare(Operator::Equal, Operand::Text("5".to_owned())));
        assert_eq!(test("payload.a != \"x\\ty\""), Test::Compare(Operator::Unequal, Operand::Text("x\ty".to_owned())));
        assert_eq!(test("payload.a <= 1.5e3"), Test::Compare(Operator::AtMost, Operand::Number("1.5e3".to_owned())));
        assert_eq!(test("payload.a == null"), Test::Compare(Operator::Equal, Operand::Null));
        assert_eq!(test("payload.a ~ 5"), Test::Compare(Operator::Contains, Operand::Text("5".to_owned())));
        assert_eq!(test("payload.a"), Test::IsThere);
        assert_eq!(parse("payload.lines.0.quantity > 1").expect("a predicate").path, ["lines", "0", "quantity"]);
        for bad in [
            "",
            "payload",
            "payload. = 1",
            "total > 1",
            "payload.a ? 1",
            "payload.a >> 1",
            "payload.a >=",
            "payload.a < true",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
