//! The serving engine beside nginx: both over one directory of random files, in one run, in turn.
//!
//! ```text
//! cargo bench -p zput-tests --bench serving -- [--only PART,…] [--runs N] [--engines NAME,…]
//!                                              [--seconds S] [--connections N] [--dir DIR]
//! ```
//!
//! | part | what |
//! |---|---|
//! | `large` | 1 GiB from the page cache to one reader: throughput, and CPU of the server |
//! | `small` | 4 KiB to 1 MiB over 64 connections: requests per second |
//! | `sizes` | 4 KiB to 4 GiB by one connection and by 16, from memory and from the disk: the engines |
//! | `idle` | 10,000 idle connections: memory of the server, and a get beside them |
//! | `cold` | hot small files beside large cold ones: how long the slowest of a thousand gets takes |
//! | `hostile` | 12,000 slow and silent clients: what good ones keep, CPU when nobody else is there |
//!
//! Figures are medians; ratios are medians of each round's own ratio. All that reads discards in
//! the kernel (`MSG_TRUNC`, but for wrk), so that what is measured is who serves. The tables are
//! Markdown, as docs/PERFORMANCE.md has them. What is not installed or not allowed is skipped, with
//! the reason.

mod cold;
mod crowd;
mod ground;
mod hostile;
mod http;
mod idle;
mod large;
mod options;
mod sealed;
mod side;
mod sizes;
mod small;
mod table;

use std::fs;

use zput_tests::measure::Congestion;

use self::{ground::Ground, options::Options};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    let congestion = Congestion::cubic();
    let ground = Ground::new(options.directory.as_deref())?;
    for part in &options.parts {
        println!("\n## {}\n", part.name);
        println!("{}\n", circumstances(&options, &congestion));
        (part.run)(&options, &ground)?;
    }
    Ok(())
}

/// What the figures depend on and nobody here decides.
fn circumstances(options: &Options, congestion: &Congestion) -> String {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let load = text("/proc/loadavg");
    format!(
        "{} runs, {} cores, Linux {}, congestion control {}, load before {}",
        options.runs,
        std::thread::available_parallelism().map_or(1, usize::from),
        text("/proc/sys/kernel/osrelease").trim_end(),
        congestion.in_force(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}
