//! The demo as it goes: one line that is redrawn on a terminal, a line a second elsewhere. On stderr.

use super::follow::Outcome;
use super::tally::Tally;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two pictures.
const REDRAW: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(1);

/// What is shown.
pub struct Live {
    bar: Option<ProgressBar>,
    began: Instant,
    orders: usize,
}

impl Live {
    /// For so many orders.
    pub fn new(orders: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(orders as u64));
        Self { bar, began: Instant::now(), orders }
    }

    /// How often it is to be shown.
    pub fn interval(&self) -> Duration {
        if self.bar.is_some() { REDRAW } else { LINE }
    }

    /// Shows how it stands, `sent` orders having been placed.
    pub fn show(&self, tally: &Tally, sent: usize) {
        let text = self.text(tally, sent);
        match &self.bar {
            Some(bar) => {
                bar.set_position(tally.over() as u64);
                bar.set_message(text);
            }
            None => {
                eprintln!("{:>5.1} s  {}/{}  {text}", self.began.elapsed().as_secs_f64(), tally.over(), self.orders)
            }
        }
    }

    /// Shows it for the last time.
    pub fn finish(self, tally: &Tally, sent: usize) {
        self.show(tally, sent);
        if let Some(bar) = self.bar {
            bar.abandon();
            // It leaves the cursor behind the bar.
            eprintln!();
        }
    }

    fn text(&self, tally: &Tally, sent: usize) -> String {
        let confirmed = tally.count(|outcome| *outcome == Outcome::Confirmed);
        let cancelled = tally.count(|outcome| matches!(outcome, Outcome::Cancelled(_)));
        let refused = tally.count(|outcome| matches!(outcome, Outcome::Refused(_)));
        let other = tally.over() - confirmed - cancelled - refused;
        let rate = tally.over() as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let mut text = format!(
            "{confirmed} confirmed, {cancelled} cancelled, {refused} refused, {} in flight, {rate:.0} orders/s, p50 {:.0} ms",
            sent.saturating_sub(tally.over()),
            tally.p50().as_secs_f64() * 1_000.0,
        );
        if other > 0 {
            let _ = write!(text, ", {other} otherwise");
        }
        text
    }
}

fn bar(orders: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len}  ETA {eta}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(orders).with_style(style)
}
