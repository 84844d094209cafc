//! How far a transfer is: the library reports through a small trait, the commands draw.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Hears how a transfer goes on. Called from whichever thread does the work.
pub trait Progress: Send + Sync {
    /// A transfer of `total` bytes begins; `None` when the source cannot say.
    fn begin(&self, total: Option<u64>);
    /// `bytes` more were handed on.
    fn advance(&self, bytes: u64);
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

/// A bar on stderr with rate and time left; it draws only when stderr is a terminal.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
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

/// Redraws a second.
const REDRAWS_PER_SECOND: u8 = 8;

impl Bar {
    /// A bar for what `label` names, on stderr, which has to be a terminal.
    #[must_use]
    pub fn on_stderr(label: &str) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_message(label.to_owned());
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self { bar }
    }
}

impl Progress for Bar {
    fn begin(&self, total: Option<u64>) {
        let template = match total {
            Some(total) => {
                self.bar.set_length(total);
                "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}"
            }
            None => "{msg} {spinner} {bytes} {binary_bytes_per_sec} {elapsed}",
        };
        // A template that does not parse leaves the default style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.reset();
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
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
    use super::*;

    #[test]
    fn templates_parse() {
        for template in [
            "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
            "{msg} {spinner} {bytes} {binary_bytes_per_sec} {elapsed}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
