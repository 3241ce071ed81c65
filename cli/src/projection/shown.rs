//! How far a rebuild or a verification has come, on stderr: a line that is redrawn on a terminal, else a line now and
//! then.

use crate::progress::Progress as Bar;
use runtime::projection::Progress;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REDRAWN_EVERY: Duration = Duration::from_millis(200);
/// Where nothing can be redrawn.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Runs it, and shows how far it is.
pub(super) async fn shown<T>(name: &str, progress: &Arc<Progress>, work: impl Future<Output = T>) -> T {
    let bar = Bar::new(name, "events", None);
    let is_terminal = std::io::stderr().is_terminal();
    let (mut stage, mut told) = (progress.stage(), Told::new(progress));
    let mut ticks = tokio::time::interval(REDRAWN_EVERY);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                if progress.total() > 0 {
                    bar.of(progress.total().max(progress.events()));
                }
                bar.at(progress.events());
                if !is_terminal && told.when.elapsed() >= TOLD_EVERY {
                    bar.tell(&told.line(name, progress));
                }
            }
            changed = stage.changed() => {
                let stage = *stage.borrow_and_update();
                bar.say(stage.as_str());
                if changed.is_ok() && !is_terminal {
                    bar.tell(&format!("{name}: {stage}"));
                }
            }
        }
    };
    bar.finish();
    done
}

/// What was told last.
struct Told {
    when: Instant,
    events: u64,
}

impl Told {
    fn new(progress: &Progress) -> Self {
        Self { when: Instant::now(), events: progress.events() }
    }

    /// How many of how many, how fast since the last line, and how long still.
    fn line(&mut self, name: &str, progress: &Progress) -> String {
        let (events, total) = (progress.events(), progress.total());
        let rate = events.saturating_sub(self.events) as f64 / self.when.elapsed().as_secs_f64().max(0.001);
        *self = Self { when: Instant::now(), events };
        let left = total.saturating_sub(events) as f64;
        let eta = if rate > 0.0 { format!(", ETA {:.0} s", left / rate) } else { String::new() };
        let stage = *progress.stage().borrow();
        format!("{name}: {stage}, {events} of about {total} events, {rate:.0}/s{eta}")
    }
}
