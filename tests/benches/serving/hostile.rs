//! What good clients keep beside thousands of bad ones, and what those cost when nobody else is
//! there.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    net::{AddressFamily, SocketType, connect, socket, sockopt::set_socket_recv_buffer_size},
    param::page_size,
};
use zput_tests::measure::median;

use crate::{
    Failure, crowd,
    ground::Ground,
    http::{HttpClient, request},
    options::Options,
    side::Side,
    table::Table,
};

const GOOD: (&str, u64) = ("good", 1 << 20);
const SLOW: (&str, u64) = ("slow", 64 << 20);
const GOOD_CLIENTS: usize = 4;
/// Of twelve bad clients one sent half a head, one nothing, and the others read slowly.
const KINDS: usize = 12;
/// How often a bad client acts.
const BEAT: Duration = Duration::from_secs(1);
/// Bad clients act in so many groups, one after another, within a beat.
const GROUPS: usize = 100;
/// What a slow reader lets the kernel hold for it, in bytes.
const SLOW_BUFFER_BYTES: usize = 4096;

/// What a bad client does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Malice {
    /// Asks for 64 MiB and reads a byte a second.
    Slow,
    /// Begins a request.
    HalfHead,
    /// Connects.
    HalfOpen,
}

/// Where bad clients connect to.
#[derive(Clone, Copy)]
struct Target {
    http: SocketAddr,
    /// The zput protocol's door, or the same where there is none.
    own: SocketAddr,
}

pub(crate) fn run(options: &Options, ground: &Ground) -> Result<(), Failure> {
    for (name, length) in [GOOD, SLOW] {
        ground.random(name, length)?;
    }
    let count = crowd::size(options.connections + options.connections / 5);
    let seats = (count + 64).to_string();
    let arguments = ["--max-connections", &seats];
    let mut sides = vec![Side::zserve(ground, options.engine(), &arguments)?];
    sides.extend(Side::nginx(ground, "nginx", "")?);
    let mut table = Table::new([
        "server",
        "hostile clients",
        "good clients alone, GB/s",
        "with hostile ones, GB/s",
        "ratio",
        "idle CPU",
        "TCP memory, MiB",
        "closed per second",
    ]);
    for side in &sides {
        let attack = attack(side, count, options)?;
        let middle = |rates: &[f64]| median(rates, |rate| rate / 1e9);
        let (alone, beside) = (middle(&attack.alone), middle(&attack.beside));
        table.row([
            side.name.clone(),
            count.to_string(),
            format!("{alone:.2}"),
            format!("{beside:.2}"),
            format!("{:.2}", beside / alone),
            format!("{:.1} %", attack.idle_cpu * 100.0),
            format!("{:.0}", attack.kernel_memory as f64 / 1024.0 / 1024.0),
            format!("{:.0}", attack.closed_per_second),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// What came of an attack on one side. Rates are in bytes per second.
struct Attack {
    /// Of good clients, half of the rounds before the bad ones and half after them: a machine whose
    /// TCP memory is used up is slow for all who are on it.
    alone: Vec<f64>,
    beside: Vec<f64>,
    /// Of one core.
    idle_cpu: f64,
    /// In bytes, of the whole machine.
    kernel_memory: u64,
    closed_per_second: f64,
}

fn attack(side: &Side, count: usize, options: &Options) -> Result<Attack, Failure> {
    let rounds = |number: usize| -> Result<Vec<f64>, Failure> {
        (0..number).map(|_| good_rate(side, options.time)).collect()
    };
    let own = side.server().map(|server| server.address().parse()).transpose()?;
    let target = Target { http: side.http, own: own.unwrap_or(side.http) };
    let malice = |number| match number % KINDS {
        0 => Malice::HalfHead,
        1 => Malice::HalfOpen,
        _ => Malice::Slow,
    };
    good_rate(side, options.time)?;
    let mut alone = rounds(options.runs.div_ceil(2))?;
    let bad = crowd::gather(count, |number| Ok((malice(number), target.enter(malice(number))?)))?;
    let done = AtomicBool::new(false);
    let mut attack = thread::scope(|scope| {
        let began = Instant::now();
        let crowd = scope.spawn(|| keep_up(target, bad, &done).map_err(|e| e.to_string()));
        let measured = (|| {
            let beside = rounds(options.runs)?;
            let (cpu, kernel_memory) = (side.cpu()?, kernel_memory()?);
            let time = options.time * 2;
            thread::sleep(time);
            Ok::<_, Failure>((beside, (side.cpu()? - cpu) / time.as_secs_f64(), kernel_memory))
        })();
        done.store(true, Ordering::Relaxed);
        let closed = crowd.join().map_err(|_| "the crowd panicked")??;
        let (beside, idle_cpu, kernel_memory) = measured?;
        let closed_per_second = closed as f64 / began.elapsed().as_secs_f64();
        Ok::<_, Failure>(Attack {
            alone: Vec::new(),
            beside,
            idle_cpu,
            kernel_memory,
            closed_per_second,
        })
    })?;
    thread::sleep(BEAT);
    alone.extend(rounds(options.runs.div_ceil(2))?);
    attack.alone = alone;
    Ok(attack)
}

/// Bytes that all TCP sockets of the machine hold.
fn kernel_memory() -> Result<u64, Failure> {
    let stat = fs::read_to_string("/proc/net/sockstat")?;
    let line =
        stat.lines().find_map(|line| line.strip_prefix("TCP:")).ok_or("no TCP in sockstat")?;
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1);
    Ok(pages.ok_or("no memory in sockstat")?.parse::<u64>()? * page_size() as u64)
}

impl Target {
    /// A bad client that has begun.
    fn enter(self, malice: Malice) -> Result<TcpStream, Failure> {
        let address = if malice == Malice::HalfOpen { self.own } else { self.http };
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        if malice == Malice::Slow {
            // Before it connects: the first window says so already.
            set_socket_recv_buffer_size(&socket, SLOW_BUFFER_BYTES)?;
        }
        connect(&socket, &address)?;
        let mut stream = TcpStream::from(socket);
        let asked = request(&Ground::target(SLOW.0));
        match malice {
            Malice::Slow => stream.write_all(asked.as_bytes())?,
            Malice::HalfHead => stream.write_all(&asked.as_bytes()[..asked.len() / 2])?,
            Malice::HalfOpen => {}
        }
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

/// Lets each bad client act once a beat, and sends another for each that was closed. Says how many
/// were.
fn keep_up(
    target: Target,
    mut bad: Vec<(Malice, TcpStream)>,
    done: &AtomicBool,
) -> Result<u64, Failure> {
    let mut closed = 0;
    let size = bad.len().div_ceil(GROUPS).max(1);
    let began = Instant::now();
    for beat in 0.. {
        for (group, clients) in bad.chunks_mut(size).enumerate() {
            let due = BEAT * beat + BEAT * u32::try_from(group)? / u32::try_from(GROUPS)?;
            thread::sleep((began + due).saturating_duration_since(Instant::now()));
            if done.load(Ordering::Relaxed) {
                return Ok(closed);
            }
            for (malice, stream) in clients {
                match stream.read(&mut [0]) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => {
                        closed += 1;
                        *stream = target.enter(*malice)?;
                    }
                }
            }
        }
    }
    Ok(closed)
}

/// Bytes per second that a few good clients get.
fn good_rate(side: &Side, time: Duration) -> Result<f64, Failure> {
    let target = Ground::target(GOOD.0);
    let started = Instant::now();
    let client = || {
        let mut client = HttpClient::connect(side.http)?;
        let mut bytes = 0;
        while started.elapsed() < time {
            bytes += client.get(&target)?;
        }
        Ok(bytes)
    };
    let bytes: u64 = crowd::gather(GOOD_CLIENTS, |_| client())?.into_iter().sum();
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}
