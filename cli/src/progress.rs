//! How far a long command has come: one line on stderr that is redrawn, with a bar, the rate and the time left.
//!
//! On a terminal alone: whatever reads stderr otherwise gets nothing of it. It has no colours, so `NO_COLOR` changes
//! nothing; a terminal that cannot move its cursor (`TERM=dumb`) gets none.

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

/// Redrawn at most so often a second.
const REDRAWN_PER_S: u8 = 10;
/// What is left is guessed from the rate: before this there is none to guess from.
const GUESSED_AFTER: Duration = Duration::from_secs(2);
const OF_MANY: &str =
    "{prefix} {bar:20} {percent:>3} %  {human_pos} of {human_len} {unit}  {rate}  ETA {eta}  {wide_msg}";
const OF_NOBODY_KNOWS: &str = "{prefix} {spinner} {human_pos} {unit}  {rate}  {elapsed}  {wide_msg}";

/// How far something has come. Clones show the same.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
    unit: &'static str,
}

impl Progress {
    /// `what` is done, counted in `unit`s: "Auditing", "events".
    pub fn new(what: &str, unit: &'static str, total: Option<u64>) -> Self {
        let target = if is_shown() { ProgressDrawTarget::stderr_with_hz(REDRAWN_PER_S) } else { hidden() };
        Self::on(target, what, unit, total)
    }

    /// One that nobody sees.
    pub fn none() -> Self {
        Self::on(hidden(), "", "", None)
    }

    fn on(target: ProgressDrawTarget, what: &str, unit: &'static str, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, target).with_prefix(what.to_owned());
        bar.set_style(style(unit, total.is_some()));
        Self { bar, unit }
    }

    /// How many there are turns out only now, or is another number than was thought.
    pub fn of(&self, total: u64) {
        if self.bar.length().is_none() {
            self.bar.set_style(style(self.unit, true));
        }
        self.bar.set_length(total);
    }

    /// So many more are done.
    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// So many are done by now; a run that goes on where an earlier one was ended begins with this.
    pub fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// How many are done by now.
    pub fn done(&self) -> u64 {
        self.bar.position()
    }

    /// What is being done just now, behind the figures.
    pub fn say(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// Writes a line to stderr above the bar; without a bar too.
    pub fn tell(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the line away: what there is to say at the end is said by others. Dropping the last clone does so too.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn is_shown() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

fn hidden() -> ProgressDrawTarget {
    ProgressDrawTarget::hidden()
}

fn style(unit: &'static str, is_known: bool) -> ProgressStyle {
    let template = if is_known { OF_MANY } else { OF_NOBODY_KNOWS };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let named = move |_: &ProgressState, out: &mut dyn Write| {
        let _ = out.write_str(unit);
    };
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    let left = |state: &ProgressState, out: &mut dyn Write| {
        let _ = match state.elapsed() < GUESSED_AFTER {
            true => out.write_str("…"),
            false => write!(out, "{:#}", HumanDuration(state.eta())),
        };
    };
    style.with_key("unit", named).with_key("rate", rate).with_key("eta", left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal of 100 columns that remembers all that was written to it.
    #[derive(Clone, Debug, Default)]
    struct Remembered(Arc<Mutex<String>>);

    impl TermLike for Remembered {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("nobody panicked").push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(total: Option<u64>) -> (Progress, Arc<Mutex<String>>) {
        let terminal = Remembered::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
        (Progress::on(target, "Auditing", "events", total), terminal.0)
    }

    #[test]
    fn it_says_how_many_of_how_many_how_fast_and_how_long_still() {
        let (progress, text) = shown(None);
        progress.advance(10);
        progress.of(2_000);
        progress.at(1_000);
        progress.say("orders");
        progress.bar.force_draw();
        let text = text.lock().expect("nobody panicked").clone();
        for part in ["Auditing", "50 %", "1,000 of 2,000 events", "/s", "ETA", "orders"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "no colours: {text:?}");
        assert_eq!(progress.done(), 1_000);
    }

    #[test]
    fn nothing_is_shown_where_stderr_is_no_terminal() {
        assert!(Progress::none().bar.is_hidden());
    }
}
