//! Hundreds of clients that hold connections and send nothing, beside a good one, over both ports.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;
use zput_proto::{
    message::{Kind, Request, Response, Section},
    name::ObjectKey,
    session::ClientConfig,
};
use zput_tests::{Configured, PATIENCE, Pattern, RawClient, WebClient, narrow};

const MIB: u64 = 1024 * 1024;

/// Peak memory that a server may have under load: what OPERATIONS allows for uploads, twice.
const MEMORY_MAX_BYTES: u64 = 96 * MIB;

/// Longest wait of a good client for a small file.
const GOOD_ENOUGH: Duration = Duration::from_secs(3);

/// What a bad client asks for: far more than its way holds.
const LARGE: u64 = 16 * MIB;

/// A ping as it travels in clear (PROTOCOL 5 and 6): a frame of one byte, the message 1.
const PING: [u8; 5] = [0, 0, 0, 1, 1];

/// A tree with a small and a large file behind both doors.
struct Besieged {
    server: Configured,
    dir: TempDir,
    large: Vec<u8>,
}

impl Besieged {
    fn new(limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let large = Pattern::bytes(5, LARGE);
        fs::write(dir.path().join("large"), &large).unwrap();
        fs::write(dir.path().join("small"), "small").unwrap();
        let config =
            format!("workers = 2\n{limits}\n[[mount]]\ndir = {:?}\npublic = true\n", dir.path());
        Self { server: Configured::start(&config), dir, large }
    }

    fn web(&self) -> WebClient {
        WebClient::connect(self.server.http()).unwrap()
    }

    fn zput(&self) -> RawClient {
        RawClient::connect(self.server.zput(), &ClientConfig::Plaintext).unwrap()
    }

    /// A new client of each door is served at once.
    #[track_caller]
    fn serves_the_good(&self) {
        let started = Instant::now();
        assert_eq!(self.web().get("/small").unwrap().body, b"small");
        assert_eq!(get(&mut self.zput(), "small").unwrap(), b"small");
        assert!(started.elapsed() < GOOD_ENOUGH, "it took {:?}", started.elapsed());
    }

    /// Nothing is done for those who do nothing, once what they asked for fills their ways: within
    /// 2 s, before their time is over.
    #[track_caller]
    fn rests(&self) {
        let mut used = f64::MAX;
        for _ in 0..4 {
            used = self.server.vitals().cpu_seconds_within(Duration::from_millis(500));
            if used < 0.05 {
                return;
            }
        }
        panic!("{used} s of CPU within 0.5 s");
    }

    #[track_caller]
    fn is_modest(&self) {
        let peak = self.server.vitals().peak_memory();
        assert!(peak < MEMORY_MAX_BYTES, "{peak} bytes at its peak");
    }

    /// A large file still comes whole.
    fn serves_large(&self) {
        assert!(self.web().get("/large").unwrap().body == self.large);
        assert!(get(&mut self.zput(), "large").unwrap() == self.large);
    }
}

fn request(name: &str) -> Request {
    let key = ObjectKey::new(name).unwrap();
    Request::Get { key, version: None, sections: vec![Section::All], kind: Kind::Plain }
}

fn get(client: &mut RawClient, name: &str) -> io::Result<Vec<u8>> {
    match client.ask(&request(name))? {
        Response::Object { .. } => client.payload(),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

/// Readers that have asked for a large file, `count` of each door.
fn readers(home: &Besieged, count: usize) -> (Vec<WebClient>, Vec<RawClient>) {
    let web = (0..count)
        .map(|_| {
            let mut client = WebClient::over(narrow(home.server.http())).unwrap();
            client.say("GET /large", "").unwrap();
            client
        })
        .collect();
    let zput = (0..count)
        .map(|_| {
            let stream = narrow(home.server.zput());
            let mut client = RawClient::over(stream, &ClientConfig::Plaintext).unwrap();
            client.send(&request("large")).unwrap();
            client
        })
        .collect();
    (web, zput)
}

/// The idle limit closes 300 readers that stop, and other clients are served meanwhile.
#[test]
fn idle_limit_closes_stalled_readers_and_others_are_served() {
    let home = Besieged::new("limits.idle_timeout = \"3s\"");
    home.serves_the_good();
    let vitals = home.server.vitals();
    let before = vitals.descriptors();
    let (web, zput) = readers(&home, 150);
    assert!(vitals.descriptors() >= before + 300);
    home.serves_the_good();
    home.rests();
    // Their own ends are open: it is the server that lets go of them.
    vitals.settle_at(before + 8);
    home.rests();
    home.is_modest();
    home.serves_large();
    drop((web, zput));
}

/// Slow readers get all their bytes, cost little CPU time and delay no other client.
#[test]
fn zserve_serves_others_beside_slow_readers_and_these_in_full() {
    let home = Besieged::new("");
    let (mut web, mut zput) = readers(&home, 60);
    let started = Instant::now();
    let mut got = vec![Vec::new(); 60];
    let before = home.server.vitals().cpu_seconds();
    // A few bytes now and then.
    while started.elapsed() < Duration::from_secs(3) {
        for (client, got) in web.iter_mut().zip(&mut got) {
            let mut some = [0; 1000];
            let n = client.stream().read(&mut some).unwrap();
            got.extend_from_slice(&some[..n]);
        }
        for client in &mut zput {
            assert!(client.stream().read(&mut [0; 1000]).unwrap() > 0);
        }
        thread::sleep(Duration::from_millis(200));
    }
    home.serves_the_good();
    let used = home.server.vitals().cpu_seconds() - before;
    assert!(used < 2.5, "{used} s of CPU for a few kilobytes a second");
    home.is_modest();
    // And then one of them hurries, and has all of it.
    let mut rest = got[0].clone();
    let client = &mut web[0];
    while !rest.ends_with(&home.large[home.large.len() - 1000..]) {
        let mut some = [0; 65_536];
        let n = client.stream().read(&mut some).unwrap();
        assert!(n > 0, "it ended after {} bytes", rest.len());
        rest.extend_from_slice(&some[..n]);
    }
    assert!(rest.ends_with(&home.large));
}

/// The HTTP head limit closes 300 requests that trickle in, and others are served meanwhile.
#[test]
fn http_head_limit_closes_requests_that_trickle_in() {
    let home = Besieged::new("limits.http_header_timeout = \"2s\"\nlimits.idle_timeout = \"60s\"");
    home.serves_the_good();
    let vitals = home.server.vitals();
    let before = vitals.descriptors();
    let mut slow: Vec<WebClient> = (0..300).map(|_| home.web()).collect();
    let head = b"GET /small HTTP/1.1\r\nHost: a-host-with-a-long-name-that-takes-its-time\r\n";
    let started = Instant::now();
    for byte in head.chunks(1) {
        for client in &mut slow {
            // Those whose time is over are closed.
            let _closed = client.stream().write_all(byte);
        }
        if started.elapsed() < Duration::from_millis(1500) {
            home.serves_the_good();
        }
        thread::sleep(Duration::from_millis(100));
    }
    let mut said = String::new();
    slow[0].stream().read_to_string(&mut said).unwrap_or_default();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    vitals.settle_at(before + 8);
    home.rests();
    home.is_modest();
    home.serves_the_good();
}

/// Silent, half-closed and unread connections are closed, and other clients are served.
#[test]
fn zserve_closes_half_open_connections_and_serves_others() {
    let home = Besieged::new("limits.idle_timeout = \"2s\"");
    home.serves_the_good();
    let vitals = home.server.vitals();
    let before = vitals.descriptors();
    // Nothing at all; an end without a word; a hello and an end; a request and an end, unread.
    let mut all: Vec<TcpStream> = Vec::new();
    for n in 0..240 {
        let door = if n % 2 == 0 { home.server.http() } else { home.server.zput() };
        let mut stream = TcpStream::connect(door).unwrap();
        if n % 8 >= 4 {
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        }
        if n % 4 >= 2 {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        all.push(stream);
    }
    home.serves_the_good();
    home.rests();
    // PROTOCOL 9: a hello has 10 s.
    vitals.settle_at(before + 8);
    home.rests();
    home.is_modest();
    home.serves_large();
    drop(all);
}

/// Writes until the other side takes no more. Gives the bytes.
fn pour(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut poured = 0;
    for chunk in bytes.chunks(4096) {
        match stream.write(chunk) {
            Ok(n) => poured += n,
            Err(_) => break,
        }
    }
    poured
}

/// Clients that send 10,000 requests and read no answer cost little memory.
#[test]
fn zserve_memory_is_bounded_with_ten_thousand_unread_requests() {
    let home = Besieged::new("limits.idle_timeout = \"5s\"");
    home.serves_the_good();
    let vitals = home.server.vitals();
    let (before, memory) = (vitals.descriptors(), vitals.memory());
    let requests = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10_000);
    let mut web: Vec<TcpStream> = (0..20).map(|_| narrow(home.server.http())).collect();
    let mut zput: Vec<RawClient> = (0..20)
        .map(|_| RawClient::over(narrow(home.server.zput()), &ClientConfig::Plaintext).unwrap())
        .collect();
    thread::scope(|scope| {
        for stream in &mut web {
            scope.spawn(|| pour(stream, &requests));
        }
        for client in &mut zput {
            // Their answers are small: a way of some kilobytes holds hundreds, and not ten
            // thousand.
            scope.spawn(|| pour(client.stream(), &PING.repeat(10_000)));
        }
        home.serves_the_good();
    });
    home.rests();
    let grown = vitals.memory().saturating_sub(memory);
    // 64 KiB of unread bytes each, and what the allocator keeps.
    assert!(grown < 16 * MIB, "{grown} bytes for 40 clients that do not read");
    home.is_modest();
    vitals.settle_at(before + 8);
    home.serves_large();
    // One that reads in the end has an answer to each.
    let mut patient = home.zput();
    let stream = patient.stream();
    let mut reader = stream.try_clone().unwrap();
    let answers = thread::spawn(move || {
        let mut answers = vec![0; 10_000 * PING.len()];
        reader.read_exact(&mut answers).map(|()| answers)
    });
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&PING.repeat(10_000)).unwrap();
    let answers = answers.join().unwrap().unwrap();
    assert!(answers.chunks(5).all(|answer| answer == &answers[..5]), "not only pongs");
}

/// The connection limit counts both listeners, and the idle limit frees its permits.
#[test]
fn connection_limit_is_shared_and_frees_idle_connections() {
    let home = Besieged::new("limits.max_connections = 50\nlimits.idle_timeout = \"3s\"");
    let mut hogs: Vec<WebClient> = (0..50).map(|_| home.web()).collect();
    // All permits are taken once the last connection is accepted, or refused.
    let started = Instant::now();
    let mut refused = false;
    while !refused {
        assert!(started.elapsed() < Duration::from_secs(2), "more than 50 have seats");
        let mut late = home.web();
        late.say("GET /small", "").unwrap();
        refused = late.head().is_ok_and(|head| {
            assert!([200, 503].contains(&head.status));
            head.status == 503
        });
    }
    let busy = RawClient::connect(home.server.zput(), &ClientConfig::Plaintext);
    assert!(busy.is_err(), "the seats are those of both doors");
    while home.web().get("/small").ok().is_none_or(|response| response.status != 200) {
        assert!(started.elapsed() < PATIENCE, "the seats do not come back");
        thread::sleep(Duration::from_millis(100));
    }
    home.serves_the_good();
    for hog in &mut hogs {
        assert!(hog.rest().is_empty(), "it asked for nothing");
    }
}

/// By hand: `cargo test -p zput-tests --test siege -- --ignored minimum_rate`. Who is slow is
/// watched for 60 s before it is judged, which is no operator's to change.
#[test]
#[ignore = "it takes more than a minute"]
fn minimum_rate_closes_readers_that_stay_just_busy_enough() {
    let home = Besieged::new("limits.idle_timeout = \"100s\"\nlimits.min_rate = \"64KiB\"");
    home.serves_the_good();
    let vitals = home.server.vitals();
    let before = vitals.descriptors();
    let (mut web, mut zput) = readers(&home, 20);
    let started = Instant::now();
    while vitals.descriptors() > before + 8 {
        assert!(started.elapsed() < Duration::from_secs(130), "they keep their seats");
        for client in &mut web {
            let _ended = client.stream().read(&mut [0; 3000]);
        }
        for client in &mut zput {
            let _ended = client.stream().read(&mut [0; 3000]);
        }
        thread::sleep(Duration::from_millis(500));
    }
    assert!(started.elapsed() > Duration::from_secs(50), "judged after {:?}", started.elapsed());
    home.serves_large();
}

/// Sets how many descriptors the server may have, below its hard limit.
fn allow(pid: Pid, count: u64) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let maximum = line.split_whitespace().nth(4).unwrap().parse().ok();
    let limit = Rlimit { current: Some(count), maximum };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
}

/// Without free descriptors both listeners close new connections, and no worker spins.
#[test]
fn zserve_without_descriptors_turns_peers_away_and_does_not_spin() {
    let home = Besieged::new("");
    let (mut web, mut zput) = (home.web(), home.zput());
    assert_eq!(web.get("/small").unwrap().body, b"small");
    assert_eq!(get(&mut zput, "small").unwrap(), b"small");
    let vitals = home.server.vitals();
    let enough = 1024;
    allow(home.server.pid(), vitals.next_descriptor());

    for round in 0..5 {
        // Turned away, not left waiting.
        let started = Instant::now();
        assert!(home.web().get("/small").is_err(), "{round}");
        assert!(RawClient::connect(home.server.zput(), &ClientConfig::Plaintext).is_err());
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        // Who is in is served: what is open, and of what is not it is told to come again.
        fs::write(home.dir.path().join(format!("new-{round}")), "new").unwrap();
        let head = web.get(&format!("/new-{round}")).unwrap();
        assert_eq!(head.status, 503);
        let refused = zput.ask(&request(&format!("new-{round}"))).unwrap();
        // PROTOCOL 7: Busy.
        assert!(matches!(&refused, Response::Error(error) if error.code == 6), "{refused:?}");
    }
    let _knocking: Vec<_> = (0..10)
        .flat_map(|_| [home.server.http(), home.server.zput()])
        .filter_map(|door| TcpStream::connect(door).ok())
        .collect();
    home.rests();
    allow(home.server.pid(), enough);
    let started = Instant::now();
    while home.web().get("/small").is_err() {
        assert!(started.elapsed() < PATIENCE, "the door stays shut");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(web.get("/new-0").unwrap().body, b"new");
    assert_eq!(get(&mut zput, "new-1").unwrap(), b"new");
    home.serves_large();
}
