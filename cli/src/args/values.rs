//! Values of flags, checked as they are read.

use std::time::Duration;

/// `500ms`, `30s`, `2m`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| "expected a time such as 500ms, 30s or 2m".to_owned())?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1000.0,
        "s" | "" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        unit => return Err(format!("{unit} is no unit of time: use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number above 0".to_owned())
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// An address with a place for a trace's id; an empty one is none.
pub(super) fn trace_url(text: &str) -> Result<String, String> {
    let is_one = text.is_empty() || (text.contains("://") && text.contains("{trace_id}"));
    is_one.then(|| text.to_owned()).ok_or_else(|| "expected an address with {trace_id} in it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traces_address_has_a_place_for_its_id() {
        assert!(trace_url("http://localhost:16686/trace/{trace_id}").is_ok());
        assert!(trace_url("").is_ok());
        for bad in ["http://localhost:16686/", "{trace_id}"] {
            assert!(trace_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "5d", "-1s", "nan"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_and_rates_are_checked() {
        for bad in ["-0.1", "1.1", "NaN", "x"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "inf", "x"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
