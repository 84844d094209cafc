//! Many small puts at once, beside the same with a chain of syncs for each.
//!
//! `cargo bench -p zput-tests --bench puts [-- --runs N] [--dir DIR]`
//!
//! ext4 looks at every inode that was freed in the last minutes before it makes a file near them:
//! where files have just been removed, that is what is measured. `--dir` names a directory
//! elsewhere.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use rand::Rng as _;
use zput_proto::{
    digest::Digest,
    limits::FRAME_MAX_BYTES,
    message::{
        Condition, HeaderSlice, Kind, Request, Response,
        frame::{self, FrameReader},
    },
    name::ObjectKey,
    session::ClientConfig,
};
use zput_seal::keys::KeyFile;
use zput_tests::{
    RawClient, ServerProcess,
    hostile::{Forgery, forge::Pieces},
    measure::{Congestion, median},
};

/// Puts of the crowd; a side without one has a fifth of them.
const PUTS: usize = 5_000;
const CONNECTIONS: usize = 32;
/// Bytes of plaintext.
const BYTES: usize = 4_096;
/// What a store appends, about.
const RECORD_BYTES: usize = 250;

/// Puts into a directory, and gives how many it did in a second.
type Side = fn(&Path) -> f64;

fn main() {
    let argument = |name: &str| std::env::args().skip_while(|a| a != name).nth(1);
    let runs = argument("--runs").map_or(5, |n| n.parse().unwrap());
    let ground = argument("--dir").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let dir = tempfile::tempdir_in(ground).unwrap();
    let congestion = Congestion::cubic();
    let sides: [(&str, Side); 5] = [
        ("a chain for each, one after the other, and nothing else", |dir| chains(dir, 1, PUTS / 5)),
        ("32 such chains at once, and nothing else", |dir| chains(dir, CONNECTIONS, PUTS)),
        ("zserve, 1 connection", |dir| puts(dir, &[], 1, PUTS / 5)),
        ("zserve with one thread for the disk, 32 connections", |dir| {
            puts(dir, &["--pool-threads", "1"], CONNECTIONS, PUTS)
        }),
        ("zserve, 32 connections", |dir| puts(dir, &[], CONNECTIONS, PUTS)),
    ];
    let mut rounds = Vec::new();
    for round in 0..runs {
        let rates = sides.iter().enumerate().map(|(side, (_, run))| {
            let dir = dir.path().join(format!("{round}-{side}"));
            fs::create_dir(&dir).unwrap();
            run(&dir)
        });
        rounds.push(rates.collect::<Vec<f64>>());
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("medians of {runs}, {}, load {}", congestion.in_force(), load.trim_end());
    println!("| 4 KiB | puts a second | to a chain for each |\n|---|---:|---:|");
    for (side, (name, _)) in sides.iter().enumerate() {
        let rate = median(&rounds, |rates| rates[side]);
        let ratio = median(&rounds, |rates| rates[side] / rates[0]);
        println!("| {name} | {rate:.0} | {ratio:.2} |");
    }
}

/// What a put does where nothing is shared: data, record, the directory that it comes to and the
/// one that it leaves, each with a sync of its own. Puts a second, by so many threads, without any
/// network.
fn chains(dir: &Path, threads: usize, puts: usize) -> f64 {
    let staging = dir.join("staging");
    let shards: Vec<PathBuf> =
        (0..=u8::MAX).map(|shard| dir.join(format!("{shard:02x}"))).collect();
    shards.iter().chain([&staging]).for_each(|path| fs::create_dir(path).unwrap());
    let directories: Vec<File> = shards.iter().map(|path| File::open(path).unwrap()).collect();
    let left = File::open(&staging).unwrap();
    let (body, record) = ([0xa5; BYTES], [0x5a; RECORD_BYTES]);
    let chain = |n: usize| {
        let shard = n * 101 % shards.len();
        let (from, to) = (staging.join(n.to_string()), shards[shard].join(n.to_string()));
        let file = File::create_new(&from).unwrap();
        file.write_all_at(&body, 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&record, BYTES as u64).unwrap();
        file.sync_data().unwrap();
        fs::rename(from, to).unwrap();
        directories[shard].sync_all().unwrap();
        left.sync_all().unwrap();
    };
    let started = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let chain = &chain;
            scope.spawn(move || (thread..puts).step_by(threads).for_each(chain));
        }
    });
    puts as f64 / started.elapsed().as_secs_f64()
}

/// Puts a second, over so many connections.
fn puts(dir: &Path, arguments: &[&str], connections: usize, puts: usize) -> f64 {
    let arguments = [&["--anonymous", "put", "--log", "error"], arguments].concat();
    let server = ServerProcess::start(&dir.join("store"), &arguments);
    let address = server.address();
    let author = KeyFile::generate(&mut rand::rng());
    let mut body = [0; BYTES];
    rand::rng().fill_bytes(&mut body);
    let sent: Vec<Vec<u8>> = (0..puts)
        .map(|n| {
            let key = ObjectKey::new(n.to_string()).unwrap();
            let blob = Forgery::honest(&author, &key, "small", &body).pieces();
            conversation(key, &blob)
        })
        .collect();
    let started = Instant::now();
    thread::scope(|scope| {
        for connection in 0..connections {
            let mine = sent.iter().skip(connection).step_by(connections);
            scope.spawn(move || {
                let mut client = RawClient::connect(address, &ClientConfig::Plaintext).unwrap();
                mine.for_each(|sent| put(client.stream(), sent));
            });
        }
    });
    puts as f64 / started.elapsed().as_secs_f64()
}

/// All that a client sends to put a blob: it need not wait for an answer in between.
fn conversation(key: ObjectKey, blob: &Pieces) -> Vec<u8> {
    let frame = |request: &Request| frame::encode(request, FRAME_MAX_BYTES).unwrap();
    let header = Some(HeaderSlice::of(blob.header.clone()));
    let (kind, condition) = (Kind::Sealed, Condition::Any);
    let mut sent = frame(&Request::Begin { key, kind, condition, header });
    for slice in blob.parts.iter().chain([&blob.footer]) {
        let (length, digest) = (slice.len() as u32, Digest::of(slice));
        sent.extend(frame(&Request::Slice { length, digest }));
        sent.extend_from_slice(slice);
    }
    sent.extend(frame(&Request::Commit));
    sent
}

/// Sends that, and waits until it is acknowledged.
fn put(stream: &mut TcpStream, sent: &[u8]) {
    stream.write_all(sent).unwrap();
    let (mut frames, mut block) = (FrameReader::new(FRAME_MAX_BYTES), [0; 1024]);
    loop {
        let received = stream.read(&mut block).unwrap();
        assert!(received > 0, "the server hung up");
        let mut rest = &block[..received];
        while let Some(response) = frames.read(&mut rest).unwrap() {
            match response {
                Response::Begun | Response::SliceHeld => {}
                Response::Committed { .. } => return,
                refused => panic!("{refused:?}"),
            }
        }
    }
}
