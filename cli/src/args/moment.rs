//! Moments on the command line.

use super::values;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use std::str::FromStr;
use std::time::Duration;

const EXPECTED: &str =
    "expected a time such as 2026-01-31T12:00:00Z, 2026-01-31 (its beginning, UTC), now, or how long ago, such as -15m";
const DAY_S: u64 = 86_400;

/// A moment, as it was written: what is relative is so to the time at which the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// That one.
    At(DateTime<Utc>),
    /// So long ago.
    Ago(Duration),
}

impl Moment {
    /// Which moment that is.
    pub fn resolve(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = chrono::TimeDelta::from_std(ago).unwrap_or(chrono::TimeDelta::MAX);
                now.checked_sub_signed(ago).unwrap_or(DateTime::<Utc>::MIN_UTC)
            }
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" {
            return Ok(Self::Ago(Duration::ZERO));
        }
        if let Some(ago) = text.strip_prefix('-') {
            return duration(ago).map(Self::Ago).map_err(|_| EXPECTED.to_owned());
        }
        if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Ok(Self::At(date.and_time(NaiveTime::MIN).and_utc()));
        }
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| EXPECTED.to_owned())?;
        Ok(Self::At(at.with_timezone(&Utc)))
    }
}

/// As everywhere, and days.
fn duration(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('d').map(str::parse::<u64>) {
        Some(Ok(days)) => Ok(Duration::from_secs(days.saturating_mul(DAY_S))),
        _ => values::duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_absolute_and_relative() {
        let now: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().expect("a time");
        let at = |text: &str| text.parse::<Moment>().map(|moment| moment.resolve(now).to_rfc3339());
        assert_eq!(at("-15m").as_deref(), Ok("2026-03-02T11:45:00+00:00"));
        assert_eq!(at("-2d").as_deref(), Ok("2026-02-28T12:00:00+00:00"));
        assert_eq!(at("now").as_deref(), Ok("2026-03-02T12:00:00+00:00"));
        assert_eq!(at("2026-01-31").as_deref(), Ok("2026-01-31T00:00:00+00:00"));
        assert_eq!(at("2026-01-31T13:00:00.5+01:00").as_deref(), Ok("2026-01-31T12:00:00.500+00:00"));
        for bad in ["", "-", "15m", "yesterday", "-15 minutes", "2026-02-30"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
