//! The progress bar of the programs.

mod rate;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use zput::Progress;
use zput_os::threads;

use self::rate::RateEstimator;

/// A progress bar on stderr with rate and remaining time.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    rate: Arc<Mutex<RateEstimator>>,
}

/// The bar on the terminal, if there is one.
static ACTIVE_BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `write`, which writes to stderr, with the bar hidden.
pub fn suspend_bar<T>(write: impl FnOnce() -> T) -> T {
    let active = ACTIVE_BAR.lock().unwrap_or_else(PoisonError::into_inner);
    match &*active {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Removes the bar because the process ends; returns a line that says how far the transfer was, if
/// there was one.
#[must_use]
pub fn take_interrupted() -> Option<String> {
    // Another thread may hold the lock while it waits for a terminal that accepts nothing.
    let bar = ACTIVE_BAR.try_lock().ok()?.take()?;
    let (message, position, length) = (bar.message(), bar.position(), bar.length());
    bar.finish_and_clear();
    Some(match length {
        Some(length @ 1..) => {
            let percent = u128::from(position) * 100 / u128::from(length);
            format!("{message}: interrupted at {percent} %")
        }
        _ => format!("{message}: interrupted after {}", BinaryBytes(position)),
    })
}

/// Interval at which the bar is drawn.
const TICK: Duration = Duration::from_millis(125);
const WITH_TOTAL: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {rate} {left}";
const WITHOUT_TOTAL: &str = "{msg} {spinner} {bytes} {rate} {elapsed}";

impl Bar {
    /// A bar for `label` on stderr, which has to be a terminal.
    #[must_use]
    pub fn on_stderr(label: &str) -> Self {
        let bar = Self::with_target(ProgressDrawTarget::stderr(), label);
        // `enable_steady_tick` panics if no thread can be started; the bar is then drawn as bytes
        // move.
        if threads::spawn("bar", || {}).is_ok_and(|thread| thread.join().is_ok()) {
            bar.bar.enable_steady_tick(TICK);
        }
        *ACTIVE_BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.bar.clone());
        bar
    }

    fn with_target(target: ProgressDrawTarget, label: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_message(label.to_owned());
        let bar = Self { bar, rate: Arc::new(Mutex::new(RateEstimator::new(Instant::now()))) };
        bar.style(WITHOUT_TOTAL);
        bar
    }

    fn style(&self, template: &str) {
        // A template that does not parse leaves the default style.
        let Ok(style) = ProgressStyle::with_template(template) else { return };
        let (rate_key, left) = (Arc::clone(&self.rate), Arc::clone(&self.rate));
        let style = style
            .with_key(
                "rate",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let per_second = bytes_per_second(&rate_key, state.pos());
                    // What does not fit is not drawn.
                    let _drawn = write!(out, "{}/s", BinaryBytes(per_second));
                },
            )
            .with_key(
                "left",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let per_second = bytes_per_second(&left, state.pos());
                    let bytes = state.len().unwrap_or(0).saturating_sub(state.pos());
                    let _drawn = match bytes.checked_div(per_second) {
                        Some(seconds) => {
                            write!(out, "{:#}", HumanDuration(Duration::from_secs(seconds)))
                        }
                        None => write!(out, "-"),
                    };
                },
            );
        self.bar.set_style(style);
    }

    fn rate(&self) -> std::sync::MutexGuard<'_, RateEstimator> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes per second, with `position` reached now.
fn bytes_per_second(rate: &Mutex<RateEstimator>, position: u64) -> u64 {
    rate.lock().unwrap_or_else(PoisonError::into_inner).per_second(Instant::now(), position)
}

impl Progress for Bar {
    fn begin(&self, total: Option<u64>) {
        match total {
            Some(total) => {
                self.bar.set_length(total);
                self.style(WITH_TOTAL);
            }
            None => self.style(WITHOUT_TOTAL),
        }
        self.bar.set_position(0);
        *self.rate() = RateEstimator::new(Instant::now());
    }

    fn held(&self, bytes: u64) {
        self.rate().held(bytes);
        self.bar.inc(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn files(&self, ended: usize, all: usize) {
        self.bar.set_message(format!("{ended} of {all} files"));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        *ACTIVE_BAR.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The templates of the progress bar are valid.
    #[test]
    fn progress_bar_templates_parse() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    /// Bytes that were there before count for the bar's position and not for its speed.
    #[test]
    fn progress_bar_counts_held_bytes_as_position_not_speed() {
        let bar = Bar::with_target(ProgressDrawTarget::hidden(), "a");
        bar.begin(Some(100_000_000));
        bar.held(60_000_000);
        assert_eq!(bar.bar.position(), 60_000_000);
        assert_eq!(bytes_per_second(&bar.rate, 60_000_000), 0);
        // A second attempt starts over.
        bar.advance(5);
        bar.begin(Some(100_000_000));
        assert_eq!(bar.bar.position(), 0);
    }
}
