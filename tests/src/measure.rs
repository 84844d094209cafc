//! What benchmarks share: what a process has used, medians, files to serve, and a congestion
//! control that does not measure itself.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use rand::Rng as _;

/// The system's default congestion control.
const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// What is written at once, in bytes.
const BLOCK_BYTES: usize = 1 << 20;

/// CPU seconds that living processes have used (proc(5), `stat`, fields 14 and 15).
///
/// # Errors
/// When one of them is gone.
pub fn cpu_seconds(pids: &[u32]) -> io::Result<f64> {
    let mut ticks = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path)?;
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        for field in fields.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<f64>().map_err(|_| strange(&path))?;
        }
    }
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// A line of a process's `status` that counts bytes, such as `VmRSS` or `VmHWM`.
///
/// # Errors
/// When the process is gone.
pub fn memory_bytes(pid: u32, line: &str) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    let kibibytes = value.and_then(|v| v.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.map(|n| n * 1024).ok_or_else(|| strange(&path))
}

fn strange(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not as proc(5) has it"))
}

/// The median of a figure of each of `items`; the upper one of two.
///
/// # Panics
/// When there are none.
pub fn median<T>(items: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = items.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Writes `length` random bytes, and does not come back before they are on the disk.
///
/// # Errors
/// When they cannot be written.
pub fn random_file(path: &Path, length: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut left = length;
    while left > 0 {
        rand::rng().fill_bytes(&mut block);
        let now = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        file.write_all(&block[..now])?;
        left -= now as u64;
    }
    file.sync_all()
}

/// The system's congestion control, put back when dropped.
#[derive(Debug)]
pub struct Congestion {
    before: Option<String>,
}

impl Congestion {
    /// `cubic` for both sides, where that may be chosen: loopback with one that paces measures the
    /// pacing.
    #[must_use]
    pub fn cubic() -> Self {
        let before = fs::read_to_string(CONGESTION).ok();
        let changed = fs::write(CONGESTION, "cubic").is_ok();
        Self { before: before.filter(|_| changed) }
    }

    /// The one in force.
    #[must_use]
    pub fn in_force(&self) -> String {
        let name = fs::read_to_string(CONGESTION);
        name.map_or_else(|_| "unknown".to_owned(), |name| name.trim_end().to_owned())
    }
}

impl Drop for Congestion {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = fs::write(CONGESTION, before)
        {
            eprintln!("the congestion control stays cubic: {error}");
        }
    }
}
