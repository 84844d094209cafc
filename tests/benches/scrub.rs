//! A scrub of a store that is in memory, beside nothing but the hashing of as many bytes.
//!
//! `cargo bench -p zput-tests --bench scrub [-- --runs N]`
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{hint::black_box, time::Instant};

use rand::Rng as _;
use zput_proto::{
    digest::{Digest, Hasher},
    message::{Condition, Kind},
    name::ObjectKey,
};
use zput_server::store::{Clock, Fraction, ReadFrom, ScrubOptions, Store};
use zput_tests::measure::median;

/// Objects in the store, and bytes of each: 4 GiB.
const OBJECTS: usize = 64;
const OBJECT_BYTES: usize = 64 << 20;
/// As a client sends it: a sealed part of 16 MiB and a little.
const SLICE_BYTES: usize = 16 << 20;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--runs");
    let runs = arguments.nth(1).map_or(7, |n| n.parse().unwrap());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(dir.path(), Clock::system()).unwrap();
    let mut body = vec![0; OBJECT_BYTES];
    rand::rng().fill_bytes(&mut body);
    for n in 0..OBJECTS {
        let key = ObjectKey::new(n.to_string()).unwrap();
        let mut upload = store.begin(&key, Kind::Plain, Condition::Any, None).unwrap();
        body[0] = n as u8;
        for slice in body.chunks(SLICE_BYTES) {
            upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
            upload.write(slice).unwrap();
            upload.end_slice().unwrap();
        }
        upload.commit().unwrap();
    }
    let bytes = (OBJECTS * OBJECT_BYTES) as f64;
    let options = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };
    let mut rounds = Vec::new();
    for round in 0..=runs {
        let started = Instant::now();
        let report = store.scrub(options, &mut ()).unwrap();
        assert_eq!((report.files, report.damaged.len()), (OBJECTS as u64, 0));
        let scrub = bytes / started.elapsed().as_secs_f64() / 1e9;
        let started = Instant::now();
        for _ in 0..OBJECTS {
            let mut hasher = Hasher::new();
            hasher.update(black_box(&body));
            black_box(hasher.finish());
        }
        let hash = bytes / started.elapsed().as_secs_f64() / 1e9;
        // The round that does not count brings the store into memory.
        if round > 0 {
            rounds.push((scrub, hash));
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("4 GiB in memory, one core, medians of {runs}, load {}", load.trim_end());
    println!("| | GB/s | to BLAKE3 |\n|---|---:|---:|");
    let ratio = median(&rounds, |(scrub, hash)| scrub / hash);
    println!("| scrub | {:.2} | {ratio:.2} |", median(&rounds, |round| round.0));
    println!("| BLAKE3 alone | {:.2} | 1.00 |", median(&rounds, |round| round.1));
}
