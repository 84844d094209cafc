//! How far a transfer is: the library reports through a small trait, the commands draw.

#[path = "progress/rate.rs"]
mod pace;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use zput_server::threads;

use self::pace::Pace;

/// Hears how a transfer goes on. Called from whichever thread does the work.
pub trait Progress: Send + Sync {
    /// A transfer of `total` bytes begins, from its start; `None` when the source cannot say.
    fn begin(&self, total: Option<u64>);
    /// `bytes` more were there before, and need not be moved.
    fn held(&self, bytes: u64) {
        self.advance(bytes);
    }
    /// `bytes` more were handed on.
    fn advance(&self, bytes: u64);
    /// So many of several files have ended.
    fn files(&self, _ended: usize, _all: usize) {}
    /// The transfer ended, well or not.
    fn end(&self);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}

/// Sealed bytes on their way, told as the plaintext that they stand for: to the byte at their end, and
/// in proportion until then.
pub(crate) struct Proportion<'a> {
    progress: &'a dyn Progress,
    sealed: u64,
    plain: u64,
    moved: u64,
    told: u64,
}

impl<'a> Proportion<'a> {
    /// `sealed` bytes that stand for `plain` bytes.
    pub(crate) const fn new(progress: &'a dyn Progress, sealed: u64, plain: u64) -> Self {
        Self { progress, sealed, plain, moved: 0, told: 0 }
    }

    /// `bytes` more of the sealed ones were moved.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes).min(self.sealed);
        let due = match self.sealed {
            0 => self.plain,
            sealed => {
                let due = u128::from(self.moved) * u128::from(self.plain) / u128::from(sealed);
                u64::try_from(due).unwrap_or(self.plain)
            }
        };
        if due > self.told {
            self.progress.advance(due - self.told);
            self.told = due;
        }
    }
}

/// A bar on stderr with rate and time left.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    pace: Arc<Mutex<Pace>>,
}

/// The bar that is on the terminal, if there is one.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes to stderr with the bar out of the way.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*drawn {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Takes the bar off the terminal, because the process ends; says how far what it stood for had come.
#[must_use]
pub fn interrupted() -> Option<String> {
    // Another thread may be drawing, and wait for a terminal that takes nothing.
    let bar = DRAWN.try_lock().ok()?.take()?;
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

/// How often the bar is drawn, whether bytes come or not.
const TICK: Duration = Duration::from_millis(125);
const WITH_TOTAL: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {rate} {left}";
const WITHOUT_TOTAL: &str = "{msg} {spinner} {bytes} {rate} {elapsed}";

impl Bar {
    /// A bar for what `label` names, on stderr, which has to be a terminal.
    #[must_use]
    pub fn on_stderr(label: &str) -> Self {
        let bar = Self::on(ProgressDrawTarget::stderr(), label);
        // Where there is no thread to be had this would panic; the bar is then drawn as bytes come.
        if threads::begin("bar", || {}).is_ok_and(|thread| thread.join().is_ok()) {
            bar.bar.enable_steady_tick(TICK);
        }
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.bar.clone());
        bar
    }

    fn on(target: ProgressDrawTarget, label: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_message(label.to_owned());
        let bar = Self { bar, pace: Arc::new(Mutex::new(Pace::new(Instant::now()))) };
        bar.style(WITHOUT_TOTAL);
        bar
    }

    fn style(&self, template: &str) {
        // A template that does not parse leaves the default style.
        let Ok(style) = ProgressStyle::with_template(template) else { return };
        let (rate, left) = (Arc::clone(&self.pace), Arc::clone(&self.pace));
        let style = style
            .with_key(
                "rate",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let per_second = at(&rate, state.pos());
                    // What does not fit is not drawn.
                    let _drawn = write!(out, "{}/s", BinaryBytes(per_second));
                },
            )
            .with_key(
                "left",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let per_second = at(&left, state.pos());
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

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes a second, with `position` reached now.
fn at(pace: &Mutex<Pace>, position: u64) -> u64 {
    pace.lock().unwrap_or_else(PoisonError::into_inner).per_second(Instant::now(), position)
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
        *self.pace() = Pace::new(Instant::now());
    }

    fn held(&self, bytes: u64) {
        self.pace().held(bytes);
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
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn templates_parse() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn what_was_there_before_is_position_and_no_speed() {
        let bar = Bar::on(ProgressDrawTarget::hidden(), "a");
        bar.begin(Some(100_000_000));
        bar.held(60_000_000);
        assert_eq!(bar.bar.position(), 60_000_000);
        assert_eq!(at(&bar.pace, 60_000_000), 0);
        // A second attempt begins anew.
        bar.advance(5);
        bar.begin(Some(100_000_000));
        assert_eq!(bar.bar.position(), 0);
    }

    #[derive(Default)]
    struct Sum(AtomicU64);

    impl Progress for Sum {
        fn begin(&self, _total: Option<u64>) {}
        fn advance(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
        fn end(&self) {}
    }

    #[test]
    fn sealed_bytes_are_told_as_plaintext_and_come_out_even() {
        for (sealed, plain) in [(1_040, 1_000), (16, 0), (7, 3), (u64::MAX, u64::MAX - 16)] {
            let sum = Sum::default();
            let mut proportion = Proportion::new(&sum, sealed, plain);
            proportion.moved(sealed / 2);
            let half = sum.0.load(Ordering::Relaxed);
            assert!(half <= plain / 2 + 1 && half + 2 >= plain / 2, "{half} of {plain}");
            proportion.moved(sealed - sealed / 2);
            proportion.moved(5);
            assert_eq!(sum.0.load(Ordering::Relaxed), plain);
        }
    }
}
