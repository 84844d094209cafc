//! Small files over many connections, by wrk.

use std::{net::SocketAddr, process::Command, time::Duration};

use zput_tests::{installed, measure::median};

use crate::{Failure, ground::Ground, options::Options, side::Side, table::Table};

const FILES: [(&str, u64); 4] =
    [("4 KiB", 4 << 10), ("16 KiB", 16 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];

/// What one side did with one file in one round.
#[derive(Clone, Copy)]
struct Cost {
    requests_per_second: f64,
    cpu_per_request: f64,
}

pub(crate) fn run(options: &Options, ground: &Ground) -> Result<(), Failure> {
    if installed("wrk").is_none() {
        println!("skipped: wrk is not installed");
        return Ok(());
    }
    let sides = Side::all(ground, &options.engines)?;
    let nginx = sides.iter().position(|side| side.server().is_none());
    let mut table = Table::new([
        "file, 64 connections",
        "server",
        "requests/s",
        "server's CPU µs/request",
        "requests/s to nginx",
        "CPU to nginx",
    ]);
    for (label, length) in FILES {
        let name = label.replace(' ', "");
        ground.random(&name, length)?;
        let mut rounds: Vec<Vec<Cost>> = Vec::new();
        for round in 0..=options.runs {
            // The round that does not count only warms.
            let time = if round == 0 { Duration::from_secs(1) } else { options.time };
            let costs: Result<Vec<Cost>, Failure> =
                sides.iter().map(|side| measure(side, &Ground::target(&name), time)).collect();
            if round > 0 {
                rounds.push(costs?);
            }
        }
        for (at, side) in sides.iter().enumerate() {
            let ratio = |figure: fn(&Cost) -> f64| {
                nginx.map_or("-".to_owned(), |nginx| {
                    let ratio = |round: &Vec<Cost>| figure(&round[at]) / figure(&round[nginx]);
                    format!("{:.2}", median(&rounds, ratio))
                })
            };
            table.row([
                label.to_owned(),
                side.name.clone(),
                format!("{:.0}", median(&rounds, |round| round[at].requests_per_second)),
                format!("{:.1}", median(&rounds, |round| round[at].cpu_per_request) * 1e6),
                ratio(|cost| cost.requests_per_second),
                ratio(|cost| cost.cpu_per_request),
            ]);
        }
    }
    println!("{table}");
    Ok(())
}

fn measure(side: &Side, target: &str, time: Duration) -> Result<Cost, Failure> {
    let cpu = side.cpu()?;
    let (requests, requests_per_second) = wrk(side.http, target, time)?;
    Ok(Cost { requests_per_second, cpu_per_request: (side.cpu()? - cpu) / requests })
}

/// How many requests there were, and how many in a second.
fn wrk(address: SocketAddr, target: &str, time: Duration) -> Result<(f64, f64), Failure> {
    let seconds = format!("-d{}s", time.as_secs().max(1));
    let output = Command::new("wrk")
        .args(["-t2", "-c64", &seconds, &format!("http://{address}{target}")])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let figure = |find: &dyn Fn(&str) -> Option<f64>| text.lines().find_map(|l| find(l.trim()));
    let requests = figure(&|l| l.split_once(" requests in ")?.0.parse().ok());
    let per_second = figure(&|l| l.strip_prefix("Requests/sec:")?.trim().parse().ok());
    requests.zip(per_second).ok_or_else(|| format!("wrk says {text}").into())
}
