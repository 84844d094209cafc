//! What the kernel says of a process: its CPU time, its descriptors, its memory.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use zput_testkit::PATIENCE;

use crate::measure::{cpu_seconds, memory_bytes};

/// A process as `/proc` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    pid: u32,
}

impl Vitals {
    /// Those of the process `pid`.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// CPU time that it has used, in seconds.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&[self.pid]).unwrap_or_else(|e| panic!("{e}"))
    }

    /// CPU seconds that it uses within the next `time`.
    #[must_use]
    pub fn cpu_seconds_within(&self, time: Duration) -> f64 {
        let before = self.cpu_seconds();
        thread::sleep(time);
        self.cpu_seconds() - before
    }

    /// Descriptors that it has open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid);
        fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")).count()
    }

    /// The number that its next descriptor would have: the least that is free.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn next_descriptor(&self) -> u64 {
        let path = format!("/proc/{}/fd", self.pid);
        let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let taken: BTreeSet<u64> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        (0..).find(|number| !taken.contains(number)).unwrap_or_default()
    }

    /// Waits until it has at most `count` descriptors.
    ///
    /// # Panics
    /// When it keeps more of them.
    #[track_caller]
    pub fn settle_at(&self, count: usize) {
        let started = Instant::now();
        while self.descriptors() > count {
            assert!(
                started.elapsed() < PATIENCE,
                "{} descriptors instead of {count}",
                self.descriptors()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Bytes of memory that it has now.
    ///
    /// # Panics
    /// When `/proc` does not say so.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.bytes("VmRSS")
    }

    /// The most bytes of memory that it has had.
    ///
    /// # Panics
    /// When `/proc` does not say so.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.bytes("VmHWM")
    }

    fn bytes(&self, line: &str) -> u64 {
        memory_bytes(self.pid, line).unwrap_or_else(|e| panic!("{e}"))
    }
}
