//! What thousands of connections cost that have asked once and say nothing more.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use zput_proto::session::ClientConfig;
use zput_tests::{
    Machine,
    measure::{median, memory_bytes},
};

use crate::{
    Failure, crowd, ground::Ground, http::HttpClient, options::Options, sealed,
    sealed::SealedClient, side::Side, table::Table,
};

const SMALL: (&str, u64) = ("idle-small", 4 << 10);
const BESIDE: (&str, u64) = ("idle-64MiB", 64 << 20);
/// Gets of the larger file in a round, on each server.
const GETS: usize = 15;
/// Seconds that a crowd may take to be idle: its handshakes are over, their deadlines within 10 s.
const SETTLES: usize = 30;
/// Of a second, what an idle server uses: the kernel counts by hundredths.
const IDLE_CPU_SECONDS: f64 = 0.02;
const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn run(options: &Options, ground: &Ground) -> Result<(), Failure> {
    let home = Machine::new();
    let count = crowd::size(options.connections);
    // Two of a kind: what the crowd does to one shows beside the other.
    let arguments = ["--max-connections", &(count + 64).to_string(), "--idle-timeout", "3600"];
    let start = || Side::zserve(ground, options.engine(), &arguments);
    let mut table = Table::new([
        "idle connections".to_owned(),
        "number".to_owned(),
        "memory before, MiB".to_owned(),
        "memory with them, MiB".to_owned(),
        "KiB each".to_owned(),
        "64 MiB beside them, time to that without".to_owned(),
    ]);
    for protocol in ["zput, tls", "HTTP"] {
        let (crowded, alone) = (start()?, start()?);
        let server = crowded.server().ok_or("it is no zserve")?;
        let credentials = if protocol == "HTTP" {
            ground.random(SMALL.0, SMALL.1)?;
            None
        } else {
            server.admit(&home);
            ground.sealed("idle-sealed", SMALL.1, &home)?;
            Some(sealed::credentials(&home)?)
        };
        ground.random(BESIDE.0, BESIDE.1)?;
        compare(&crowded, &alone, 1)?;
        let before = memory_bytes(server.pid(), "VmRSS")? as f64;
        let idle = crowd::gather(count, |_| join(&crowded, credentials.as_ref()))?;
        let with = memory_bytes(server.pid(), "VmRSS")? as f64;
        settle(&crowded)?;
        let ratios = compare(&crowded, &alone, options.runs)?;
        still_there(&idle)?;
        table.row([
            protocol.to_owned(),
            count.to_string(),
            format!("{:.1}", before / MIB),
            format!("{:.1}", with / MIB),
            format!("{:.1}", (with - before) / 1024.0 / count as f64),
            format!("{:.2}", median(&ratios, |ratio| *ratio)),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// A connection that has had one answer: with payload, be it over `tls` or HTTP.
fn join(side: &Side, credentials: Option<&ClientConfig>) -> Result<TcpStream, Failure> {
    if let Some(credentials) = credentials {
        let address = side.server().ok_or("it is no zserve")?.address();
        let mut client = SealedClient::connect(address, credentials)?;
        client.get("idle-sealed")?;
        return Ok(client.into_stream());
    }
    let mut client = HttpClient::connect(side.http)?;
    client.get(&Ground::target(SMALL.0))?;
    Ok(client.into_stream())
}

/// Waits until the server has nothing left to do for a crowd that has just come.
fn settle(side: &Side) -> Result<(), Failure> {
    for _ in 0..SETTLES {
        let before = side.cpu()?;
        thread::sleep(Duration::from_secs(1));
        if side.cpu()? - before <= IDLE_CPU_SECONDS {
            return Ok(());
        }
    }
    Err("the server has no rest with an idle crowd".into())
}

/// None of them was closed by the server.
fn still_there(idle: &[TcpStream]) -> Result<(), Failure> {
    for stream in idle {
        stream.set_nonblocking(true)?;
        match stream.peek(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return Err(format!("an idle connection did not stay: {other:?}").into()),
        }
    }
    Ok(())
}

/// Of each round the time of a get beside the crowd to that of one without.
fn compare(crowded: &Side, alone: &Side, runs: usize) -> Result<Vec<f64>, Failure> {
    let target = Ground::target(BESIDE.0);
    let mut clients = [HttpClient::connect(crowded.http)?, HttpClient::connect(alone.http)?];
    let mut ratios = Vec::new();
    for _ in 0..runs {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..GETS {
            for (client, times) in clients.iter_mut().zip(&mut times) {
                let started = Instant::now();
                client.get(&target)?;
                times.push(started.elapsed().as_secs_f64());
            }
        }
        let [with, without] = times.map(|times| median(&times, |time| *time));
        ratios.push(with / without);
    }
    Ok(ratios)
}
