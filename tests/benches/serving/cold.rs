//! How long small hot files wait while large cold ones are read from the disk.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use zput_tests::measure::median;

use crate::{
    Failure, ground::Ground, http::HttpClient, options::Options, side::Side, table::Table,
};

const HOT: (&str, u64) = ("hot", 4 << 10);
const COLD_BYTES: u64 = 1 << 30;
const STREAMS: usize = 8;
/// Left on the disk for everybody else.
const SPARE_BYTES: u64 = 4 << 30;
/// How long the streams run before it counts: until all of them wait for the disk.
const BEGIN: Duration = Duration::from_millis(300);

/// What one side did in one round, in microseconds and bytes per second.
#[derive(Clone, Copy)]
struct Round {
    quiet: Times,
    beside: Times,
    cold_rate: f64,
}

#[derive(Clone, Copy)]
struct Times {
    median: f64,
    late: f64,
}

pub(crate) fn run(options: &Options, ground: &Ground) -> Result<(), Failure> {
    ground.random(HOT.0, HOT.1)?;
    let mut names: Vec<String> = Vec::new();
    while names.len() < STREAMS && ground.room()? > COLD_BYTES + SPARE_BYTES {
        let name = format!("cold-{}", names.len());
        ground.random(&name, COLD_BYTES)?;
        names.push(name);
    }
    if names.len() < STREAMS {
        println!("{} cold files instead of {STREAMS}: the disk has no room\n", names.len());
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut sides = vec![Side::zserve(ground, options.engine(), &[])?];
    sides.extend(Side::nginx(ground, "nginx", "")?);
    sides.extend(Side::nginx(ground, "nginx, aio threads", "aio threads;")?);
    let mut rounds: Vec<Vec<Round>> = Vec::new();
    for round in 0..=options.runs {
        let all: Result<Vec<Round>, Failure> =
            sides.iter().map(|side| measure(side, ground, &names, options.time)).collect();
        if round > 0 {
            rounds.push(all?);
        }
    }
    let mut table = Table::new([
        "hot 4 KiB beside 8 cold streams",
        "alone: median µs",
        "99.9 % µs",
        "beside: median µs",
        "99.9 % µs",
        "99.9 %, beside to alone",
        "cold GB/s",
    ]);
    for (at, side) in sides.iter().enumerate() {
        let figure = |figure: fn(&Round) -> f64| median(&rounds, |round| figure(&round[at]));
        table.row([
            side.name.clone(),
            format!("{:.0}", figure(|round| round.quiet.median)),
            format!("{:.0}", figure(|round| round.quiet.late)),
            format!("{:.0}", figure(|round| round.beside.median)),
            format!("{:.0}", figure(|round| round.beside.late)),
            format!("{:.1}", figure(|round| round.beside.late / round.quiet.late)),
            format!("{:.2}", figure(|round| round.cold_rate / 1e9)),
        ]);
    }
    println!("{table}");
    for name in names {
        std::fs::remove_file(ground.file(&name))?;
    }
    Ok(())
}

fn measure(
    side: &Side,
    ground: &Ground,
    names: &[String],
    time: Duration,
) -> Result<Round, Failure> {
    let quiet = hot_times(side, time)?;
    let (done, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let stream = |name| stream(side, ground, name, &done, &received).map_err(|e| e.to_string());
        let streams: Vec<_> = names.iter().map(|name| scope.spawn(move || stream(name))).collect();
        thread::sleep(BEGIN);
        let (before, started) = (received.load(Ordering::Relaxed), Instant::now());
        let beside = hot_times(side, time);
        let bytes = received.load(Ordering::Relaxed) - before;
        let cold_rate = bytes as f64 / started.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        for stream in streams {
            stream.join().map_err(|_| "a stream panicked")??;
        }
        Ok(Round { quiet, beside: beside?, cold_rate })
    })
}

/// Gets a file again and again, each time from the disk.
fn stream(
    side: &Side,
    ground: &Ground,
    name: &str,
    done: &AtomicBool,
    received: &AtomicU64,
) -> Result<(), Failure> {
    while !done.load(Ordering::Relaxed) {
        ground.cool(name)?;
        let mut client = HttpClient::connect(side.http)?;
        client.get_while(&Ground::target(name), |bytes| {
            received.fetch_add(bytes, Ordering::Relaxed);
            !done.load(Ordering::Relaxed)
        })?;
    }
    Ok(())
}

/// One client's gets of the hot file, one after another.
fn hot_times(side: &Side, time: Duration) -> Result<Times, Failure> {
    let target = Ground::target(HOT.0);
    let mut client = HttpClient::connect(side.http)?;
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let began = Instant::now();
        client.get(&target)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let part = |thousandths: usize| times[(times.len() * thousandths / 1000).min(times.len() - 1)];
    Ok(Times { median: part(500), late: part(999) })
}
