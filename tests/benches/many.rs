//! Many small files by one `zput`: one after the other, and several in flight, over TLS on loopback
//! to a store on a disk.
//!
//! ```text
//! cargo bench -p zput-tests --bench many -- [--files N] [--bytes N] [--runs N] [--jobs N,N,…]
//! ```
//!
//! All ways go in turn, A B C A B C …, in one run; times are medians, and ratios are medians of
//! each round's own. Every put makes a new version of the same names. Client and server share the
//! machine and its disk, and both sync what they note.

use std::time::Instant;

use zput_tests::{
    Machine, ServerProcess,
    measure::{median, random_file},
};

type Failure = Box<dyn std::error::Error>;

struct Options {
    files: usize,
    bytes: u64,
    runs: usize,
    /// The first is what the others are compared with.
    jobs: Vec<usize>,
}

impl Options {
    fn from_arguments() -> Result<Self, Failure> {
        let mut options = Self { files: 1000, bytes: 4096, runs: 5, jobs: vec![1, 2, 4, 8, 16] };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--files" => options.files = value()?.parse()?,
                "--bytes" => options.bytes = value()?.parse()?,
                "--runs" => options.runs = value()?.parse()?,
                "--jobs" => {
                    let jobs: Result<_, _> = value()?.split(',').map(str::parse).collect();
                    options.jobs = jobs?;
                }
                // cargo bench passes this to every target.
                "--bench" => {}
                other => return Err(format!("{other}? --files, --bytes, --runs, --jobs").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<(), Failure> {
    let Options { files, bytes, runs, jobs } = Options::from_arguments()?;
    let home = Machine::new_in(env!("CARGO_TARGET_TMPDIR").as_ref());
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    let names: Vec<String> = (0..files).map(|n| format!("f{n}")).collect();
    for name in &names {
        random_file(&home.file(name), bytes)?;
    }
    let put = |jobs: usize| {
        let begun = Instant::now();
        let arguments = [&["--jobs".to_owned(), jobs.to_string()], &names[..]].concat();
        let _stored = home.run("zput", arguments).ok();
        begun.elapsed().as_secs_f64()
    };
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for round in 0..=runs {
        let times = jobs.iter().map(|jobs| put(*jobs)).collect();
        // The one that does not count makes the directories.
        if round > 0 {
            rounds.push(times);
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{files} files of {bytes} bytes, medians of {runs}, load {}", load.trim_end());
    println!("| jobs | s | files/s | ratio |\n|---:|---:|---:|---:|");
    for (way, jobs) in jobs.iter().enumerate() {
        let seconds = median(&rounds, |times| times[way]);
        let ratio = median(&rounds, |times| times[0] / times[way]);
        println!("| {jobs} | {seconds:.2} | {:.0} | {ratio:.2} |", files as f64 / seconds);
    }
    Ok(())
}
