//! The engines raced over sizes: by one connection and by several, from memory and from the disk.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use zput_tests::measure::median;

use crate::{
    Failure, crowd, ground::Ground, http::HttpClient, options::Options, side::Side, table::Table,
};

const SIZES: [(&str, u64); 7] = [
    ("4 KiB", 4 << 10),
    ("64 KiB", 64 << 10),
    ("1 MiB", 1 << 20),
    ("16 MiB", 16 << 20),
    ("256 MiB", 256 << 20),
    ("1 GiB", 1 << 30),
    ("4 GiB, sparse", 4 << 30),
];
/// From this size on a file has no bytes on the disk: it would take the disk's time and room.
const SPARSE_FROM: u64 = 4 << 30;
const CONNECTIONS: [usize; 2] = [1, 16];
/// How long one side's gets of one kind go on; at least one of each connection.
const TIME: Duration = Duration::from_millis(250);
/// When gets that are under way are given up.
const TIME_MAX: Duration = Duration::from_secs(2);

pub(crate) fn run(options: &Options, ground: &Ground) -> Result<(), Failure> {
    let sides = Side::all(ground, &options.engines)?;
    let head = ["GB/s", "connections", "file"].into_iter().map(str::to_owned);
    let mut table = Table::new(head.chain(sides.iter().map(|side| side.name.clone())));
    for (label, length) in SIZES {
        let name = label.replace([' ', ','], "-");
        if length >= SPARSE_FROM {
            File::create(ground.file(&name))?.set_len(length)?;
        } else {
            ground.random(&name, length)?;
        }
        for connections in CONNECTIONS {
            for cold in [false, true] {
                let mut rounds: Vec<Vec<f64>> = Vec::new();
                for round in 0..=options.runs {
                    let rates: Result<Vec<f64>, Failure> = sides
                        .iter()
                        .map(|side| measure(side, ground, &name, connections, cold))
                        .collect();
                    if round > 0 {
                        rounds.push(rates?);
                    }
                }
                let figures = (0..sides.len()).map(|at| median(&rounds, |round| round[at]) / 1e9);
                let from = if cold { "from the disk" } else { "in memory" };
                let start = [label.to_owned(), connections.to_string(), from.to_owned()];
                table.row(start.into_iter().chain(figures.map(|figure| format!("{figure:.3}"))));
            }
        }
        std::fs::remove_file(ground.file(&name))?;
    }
    println!("{table}");
    Ok(())
}

/// Bytes per second. From the disk, the file is taken out of memory before each round of gets, in
/// which all connections ask for it at once.
fn measure(
    side: &Side,
    ground: &Ground,
    name: &str,
    connections: usize,
    cold: bool,
) -> Result<f64, Failure> {
    let target = Ground::target(name);
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(HttpClient::connect(side.http)?);
    }
    let began = Instant::now();
    let once = |client: &mut HttpClient| client.get_while(&target, |_| began.elapsed() < TIME_MAX);
    let (mut bytes, mut time) = (0, Duration::ZERO);
    while began.elapsed() < TIME {
        if cold {
            ground.cool(name)?;
        }
        let started = Instant::now();
        bytes += match &mut clients[..] {
            [client] => once(client)?,
            clients if cold => crowd::each(clients, once)?,
            clients => crowd::each(clients, |client| {
                let mut bytes = once(client)?;
                while began.elapsed() < TIME {
                    bytes += once(client)?;
                }
                Ok(bytes)
            })?,
        };
        time += started.elapsed();
    }
    Ok(bytes as f64 / time.as_secs_f64())
}
