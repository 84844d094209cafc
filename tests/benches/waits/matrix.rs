//! The sweep and its table.

use std::{fmt::Write as _, io::Cursor, time::Instant};

use zput::{
    Silent,
    cli::{GetOptions, PutOptions, Session},
};
use zput_proto::name::BlobName;
use zput_tests::{Pattern, measure::median};

use crate::{
    Failure, MARK,
    ask::{Reader, Transport},
    ground::{Ground, Served},
    options::Options,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Of ranges: around what is sent in one call, what a socket holds back, a segment of loopback, a
/// window.
const RANGES: [u64; 20] = [
    1,
    KIB,
    16 * KIB - 1,
    16 * KIB,
    32 * KIB - 1,
    32 * KIB,
    32 * KIB + 1,
    64 * KIB - 53,
    64 * KIB,
    64 * KIB + 1,
    100_000,
    128 * KIB,
    256 * KIB,
    300_000,
    512 * KIB,
    512 * KIB + 1,
    MIB,
    MIB + 1,
    16 * MIB,
    100 * MIB,
];

/// Of what is put and got by the client library.
const BLOBS: [u64; 10] =
    [0, 1, 16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB, MIB, MIB + 1, 16 * MIB, 40_000_000];

/// Bytes of one kind of request that are enough.
const ENOUGH_BYTES: u64 = 200 * MIB;

/// How long requests of one kind took, in milliseconds.
struct Cell {
    what: &'static str,
    bytes: u64,
    /// The first one on its connection.
    first: f64,
    rest: Vec<f64>,
}

pub(crate) fn run(options: &Options, ground: &Ground) -> Result<(), Failure> {
    let mut table = String::from(
        "| congestion control | engine | transport | what | requests | over 40 ms | sizes with a median \
         over | 1 MiB: median ms | slowest ms | of |\n\
         |---|---|---|---|---:|---:|---:|---:|---:|---|\n",
    );
    for congestion in &options.congestions {
        for engine in &options.engines {
            let served = ground.serve(*engine, congestion)?;
            for transport in &options.transports {
                let mut parts = Vec::new();
                if options.ranges {
                    parts.push((
                        "ranges",
                        ranges(*transport, &served, congestion, options.requests)?,
                    ));
                }
                if options.library && *transport != Transport::Http {
                    let cells = library(*transport, ground, &served, options.requests)?;
                    parts.push(("puts, gets", cells));
                }
                for (part, cells) in parts {
                    let name = format!("{congestion} | {engine} | {} | {part}", transport.name());
                    writeln!(table, "| {name} | {}", summary(&cells))?;
                    if options.all {
                        cells.iter().for_each(|cell| println!("{name} | {}", line(cell)));
                    }
                }
            }
        }
    }
    println!("{table}");
    Ok(())
}

/// So many requests of a size, and no more than are enough.
fn count(bytes: u64, requests: usize) -> u64 {
    let enough = ENOUGH_BYTES / bytes.max(1);
    enough.clamp(2, requests.max(2) as u64)
}

fn ranges(
    transport: Transport,
    served: &Served,
    congestion: &str,
    requests: usize,
) -> Result<Vec<Cell>, Failure> {
    let mut cells = Vec::new();
    for bytes in RANGES {
        let mut reader = Reader::connect(transport, served, congestion)?;
        let mut times = Vec::new();
        for number in 0..count(bytes, requests) {
            // Behind the header, and nearly never at the beginning of a page.
            let offset = 9_092 + number * 7919;
            times.push(timed(|| reader.range(offset, bytes))?);
        }
        cells.push(Cell { what: "range", bytes, first: times.remove(0), rest: times });
    }
    Ok(cells)
}

fn library(
    transport: Transport,
    ground: &Ground,
    served: &Served,
    requests: usize,
) -> Result<Vec<Cell>, Failure> {
    let directories = ground.directories()?;
    let mut cells = Vec::new();
    for bytes in BLOBS {
        let name = BlobName::parse(&format!("{}-{bytes}", transport.name()))?;
        let plain = Pattern::bytes(bytes, bytes);
        let mut puts = Vec::new();
        let mut client = Session::new(served.key_file_for(transport), &directories)?;
        for _ in 0..count(bytes, requests) {
            let source = Cursor::new(plain.clone());
            let put = || client.put(&name, source, &PutOptions::default(), &Silent);
            puts.push(timed(put)?);
        }
        cells.push(Cell { what: "put", bytes, first: puts.remove(0), rest: puts });
        let mut gets = Vec::new();
        let mut client = Session::new(served.key_file_for(transport), &directories)?;
        for _ in 0..count(bytes, requests) {
            let mut got = Vec::with_capacity(plain.len());
            gets.push(timed(|| client.get(&name, &GetOptions::default(), &mut got, &Silent))?);
            if got != plain {
                return Err(format!("{name:?} came back as something else").into());
            }
        }
        cells.push(Cell { what: "get", bytes, first: gets.remove(0), rest: gets });
    }
    Ok(cells)
}

/// Milliseconds that `request` took.
fn timed<T, E: Into<Failure>>(request: impl FnOnce() -> Result<T, E>) -> Result<f64, Failure> {
    let began = Instant::now();
    request().map_err(Into::into)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

impl Cell {
    fn median(&self) -> f64 {
        median(&self.rest, |took| *took)
    }

    fn slowest(&self) -> f64 {
        self.rest.iter().copied().fold(0.0, f64::max)
    }

    fn marked(&self) -> usize {
        self.rest.iter().chain([&self.first]).filter(|took| **took > self.mark()).count()
    }

    /// What only the bytes take does not count: a quarter of a GB/s, for a machine that does other
    /// things.
    fn mark(&self) -> f64 {
        MARK + self.bytes as f64 / 250e6 * 1e3
    }
}

fn summary(cells: &[Cell]) -> String {
    let requests: usize = cells.iter().map(|cell| cell.rest.len() + 1).sum();
    let usual = cells.iter().find(|cell| cell.bytes == MIB);
    let usual = usual.map_or_else(String::new, |cell| format!("{:.2}", cell.median()));
    // How much longer it took than its bytes do says more than how long.
    let late = |cell: &&Cell| cell.slowest() - cell.mark();
    let slowest = cells.iter().max_by(|a, b| late(a).total_cmp(&late(b)));
    let (took, of) = slowest.map_or((0.0, String::new()), |cell| {
        (cell.slowest(), format!("{} of {}", cell.what, cell.bytes))
    });
    let marked: usize = cells.iter().map(Cell::marked).sum();
    let sizes = cells.iter().filter(|cell| cell.median() > cell.mark()).count();
    format!("{requests} | {marked} | {sizes} of {} | {usual} | {took:.1} | {of} |", cells.len())
}

fn line(cell: &Cell) -> String {
    let mark =
        if cell.marked() > 0 { format!(" <-- {} over", cell.marked()) } else { String::new() };
    format!(
        "{} of {}: first {:.2}, median {:.2}, slowest {:.2} ms{mark}",
        cell.what,
        cell.bytes,
        cell.first,
        cell.median(),
        cell.slowest()
    )
}
