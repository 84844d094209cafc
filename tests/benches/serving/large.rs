//! 1 GiB from the page cache to one reader that discards it.

use std::time::Instant;

use zput_tests::{Machine, measure::median};

use crate::{
    Failure, ground::Ground, http::HttpClient, options::Options, sealed, sealed::SealedClient,
    side::Side, table::Table,
};

/// Plaintext of the sealed blob that everybody serves.
const LENGTH: u64 = 1 << 30;
const NAME: &str = "large";
/// Gets in a measurement: the kernel counts CPU time by hundredths of a second.
const GETS: usize = 4;

/// What the gets of one round came to.
struct Cost {
    gigabytes_per_second: f64,
    cpu_per_gigabyte: f64,
}

pub(crate) fn run(options: &Options, ground: &Ground) -> Result<(), Failure> {
    let sides = Side::all(ground, &options.engines)?;
    let home = Machine::new();
    let tls = sides.first().ok_or("nobody serves")?;
    let server = tls.server().ok_or("no engine was chosen")?;
    server.admit(&home);
    ground.sealed(NAME, LENGTH, &home)?;
    let credentials = sealed::credentials(&home)?;

    let target = Ground::target(NAME);
    let mut names: Vec<String> = sides.iter().map(|side| side.name.clone()).collect();
    names.insert(1, format!("{}, tls", tls.name));
    let mut rounds: Vec<Vec<Cost>> = Vec::new();
    // One round that does not count warms the page cache.
    for round in 0..=options.runs {
        let mut costs = Vec::new();
        for side in &sides {
            let mut client = HttpClient::connect(side.http)?;
            costs.push(measure(side, || client.get(&target))?);
        }
        let mut client = SealedClient::connect(server.address(), &credentials)?;
        costs.insert(1, measure(tls, || client.get(NAME))?);
        if round > 0 {
            rounds.push(costs);
        }
    }

    let nginx = sides.iter().position(|side| side.server().is_none()).map(|at| at + 1);
    let mut table = Table::new([
        "1 GiB, warm, one reader",
        "GB/s",
        "CPU-s/GB",
        "GB/s to nginx",
        "CPU to nginx",
    ]);
    for (at, name) in names.iter().enumerate() {
        let ratio = |figure: fn(&Cost) -> f64| {
            nginx.map_or("-".to_owned(), |nginx| {
                let ratio = |round: &Vec<Cost>| figure(&round[at]) / figure(&round[nginx]);
                format!("{:.2}", median(&rounds, ratio))
            })
        };
        table.row([
            name.clone(),
            format!("{:.2}", median(&rounds, |round| round[at].gigabytes_per_second)),
            format!("{:.3}", median(&rounds, |round| round[at].cpu_per_gigabyte)),
            ratio(|cost| cost.gigabytes_per_second),
            ratio(|cost| cost.cpu_per_gigabyte),
        ]);
    }
    println!("{table}");
    let speed = |at: usize| move |round: &Vec<Cost>| round[at].gigabytes_per_second;
    let ratio = median(&rounds, |round| speed(1)(round) / speed(0)(round));
    println!("tls is {ratio:.2} times as fast as HTTP.");
    Ok(())
}

/// A round's gets from one side.
fn measure(side: &Side, mut get: impl FnMut() -> Result<u64, Failure>) -> Result<Cost, Failure> {
    let (cpu, started) = (side.cpu()?, Instant::now());
    let mut bytes = 0;
    for _ in 0..GETS {
        bytes += get()?;
    }
    let gigabytes = bytes as f64 / 1e9;
    Ok(Cost {
        gigabytes_per_second: gigabytes / started.elapsed().as_secs_f64(),
        cpu_per_gigabyte: (side.cpu()? - cpu) / gigabytes,
    })
}
