//! What moves payload, from outside: files that change under it, files over 2 GiB, files that only
//! the disk has.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;
use zput_proto::{
    message::{Kind, Request, Response, Section},
    name::ObjectKey,
    session::ClientConfig,
};
use zput_tests::{
    Call, Configured, PATIENCE, Pattern, RawClient, Vitals, WebClient, WebResponse, calls,
    can_trace, command_path, narrow, or_skip,
};

const ENGINES: [&str; 4] = ["sendfile", "splice", "mmap", "copy"];

/// Of the file that is changed while it is served: far more than sockets and pipes hold.
const LENGTH: u64 = 32 * 1024 * 1024;

const GIB: u64 = 1 << 30;

/// A tree with one door of each kind before it, and one worker: what that keeps open is one
/// descriptor. What changes is looked at for each request.
struct Served {
    server: Configured,
    dir: TempDir,
}

impl Served {
    fn new(engine: &str) -> Self {
        Self::in_dir(engine, tempfile::tempdir().unwrap())
    }

    fn in_dir(engine: &str, dir: TempDir) -> Self {
        let server = Configured::start(&config(engine, dir.path()));
        Self { server, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("f")
    }

    /// Replaces the file by a rename.
    fn write(&self, bytes: &[u8]) {
        let new = self.dir.path().join("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.file()).unwrap();
    }
}

fn config(engine: &str, tree: &Path) -> String {
    format!(
        "engine = {engine:?}\nworkers = 1\n[[mount]]\ndir = {tree:?}\npublic = true\nrevalidate_after = \"0s\"\n"
    )
}

/// A reader that has got the announcement of the whole file, and none of its bytes.
enum Reader {
    Web(WebClient),
    Zput(Box<RawClient>),
}

const DOORS: [&str; 2] = ["http", "zput"];

impl Reader {
    fn begin(door: &str, server: &Configured, announced: u64) -> Self {
        match door {
            "http" => {
                let mut client = WebClient::over(narrow(server.http())).unwrap();
                client.say("GET /f", "").unwrap();
                let head = client.head().unwrap();
                assert_eq!((head.status, head.length()), (200, announced));
                Self::Web(client)
            }
            _ => {
                let mut client =
                    RawClient::over(narrow(server.zput()), &ClientConfig::Plaintext).unwrap();
                assert_eq!(ask(&mut client, Section::All), announced);
                Self::Zput(Box::new(client))
            }
        }
    }

    /// What comes of `length` bytes, and whether the connection ended before them.
    fn read(&mut self, length: u64) -> (Vec<u8>, bool) {
        let mut got = Vec::new();
        let read = match self {
            Self::Web(client) => client.stream().take(length).read_to_end(&mut got).map(drop),
            Self::Zput(client) => client.payload_to(&mut got),
        };
        if let Err(error) = read {
            assert!(error.kind() != io::ErrorKind::WouldBlock, "neither bytes nor an end");
        }
        let ended = (got.len() as u64) < length;
        (got, ended)
    }

    /// The whole file, by another request.
    fn again(&mut self) -> Vec<u8> {
        match self {
            Self::Web(client) => client.get("/f").unwrap().body,
            Self::Zput(client) => {
                let announced = ask(client, Section::All);
                let payload = client.payload().unwrap();
                assert_eq!(payload.len() as u64, announced);
                payload
            }
        }
    }
}

/// Asks for a section of the file; gives the bytes that are announced.
fn ask(client: &mut RawClient, section: Section) -> u64 {
    let key = ObjectKey::new("f").unwrap();
    let get = Request::Get { key, version: None, sections: vec![section], kind: Kind::Plain };
    match client.ask(&get).unwrap() {
        Response::Object { payload, .. } => payload,
        other => panic!("{other:?}"),
    }
}

/// The whole file, by a connection of its own.
fn fresh(door: &str, server: &Configured) -> Vec<u8> {
    match door {
        "http" => WebClient::connect(server.http()).unwrap().get("/f").unwrap().body,
        _ => {
            let client = RawClient::connect(server.zput(), &ClientConfig::Plaintext).unwrap();
            Reader::Zput(Box::new(client)).again()
        }
    }
}

/// Nothing runs on: neither CPU nor descriptors.
#[track_caller]
fn assert_rests(vitals: Vitals, descriptors: usize) {
    vitals.settle_at(descriptors);
    let used = vitals.cpu_seconds_within(Duration::from_millis(300));
    assert!(used < 0.1, "{used} s of CPU within 0.3 s");
}

fn for_each_way(test: impl Fn(&str, &str)) {
    for engine in ENGINES {
        for door in DOORS {
            println!("{engine} over {door}");
            test(engine, door);
        }
    }
}

/// Where a file is cut: to nothing, within a page, at a border of pages, at one of windows.
const CUTS: [u64; 4] = [0, 24 * 1024 * 1024 + 123, 24 * 1024 * 1024 + 4096, 24 * 1024 * 1024];

/// A file truncated during a get ends that connection only.
#[test]
fn engine_closes_only_the_connection_of_truncated_file() {
    for_each_way(|engine, door| {
        let mut served = Served::new(engine);
        let old = Pattern::bytes(1, LENGTH);
        served.write(&old);
        // Descriptors that are made once, such as those of pipes, are there after the first get.
        assert!(fresh(door, &served.server) == old);
        let vitals = served.server.vitals();
        let descriptors = vitals.descriptors();
        for cut in CUTS {
            served.write(&old);
            let mut reader = Reader::begin(door, &served.server, LENGTH);
            OpenOptions::new().write(true).open(served.file()).unwrap().set_len(cut).unwrap();
            let (got, ended) = reader.read(LENGTH);
            assert!(ended, "{cut}: more bytes than the file had");
            let whole = got.len().min(usize::try_from(cut).unwrap());
            assert!(got[..whole] == old[..whole], "{cut}: other bytes");
            // The kernel fills the rest of the last page with zeros, under those that are on their
            // way.
            let behind = got[whole..].iter().zip(&old[whole..]);
            assert!(behind.clone().all(|(got, old)| got == old || *got == 0), "{cut}");
            drop(reader);
            assert!(served.server.is_alive(), "{cut}: {}", served.server.log());
            assert_rests(vitals, descriptors);
            assert!(fresh(door, &served.server) == old[..usize::try_from(cut).unwrap()], "{cut}");
        }
        let (code, log) = served.server.stop();
        assert_eq!(code, Some(0), "{log}");
    });
}

/// A get under way sends the file as it was opened, though it is replaced, deleted or grown.
#[test]
fn engine_sends_open_file_though_replaced_deleted_or_grown() {
    for_each_way(|engine, door| {
        let served = Served::new(engine);
        let old = Pattern::bytes(2, LENGTH);
        served.write(&old);
        assert!(fresh(door, &served.server) == old);
        let vitals = served.server.vitals();
        let descriptors = vitals.descriptors();
        for change in ["replaced", "deleted", "grown"] {
            served.write(&old);
            let mut reader = Reader::begin(door, &served.server, LENGTH);
            match change {
                "replaced" => served.write(b"another"),
                "deleted" => fs::remove_file(served.file()).unwrap(),
                _ => {
                    let mut file = OpenOptions::new().append(true).open(served.file()).unwrap();
                    file.write_all(b"more").unwrap();
                }
            }
            let (got, ended) = reader.read(LENGTH);
            assert!(!ended && got == old, "{change}");
            // And the next request on this connection is about what is there now.
            match change {
                "replaced" => assert_eq!(reader.again(), b"another"),
                "deleted" => {
                    let Reader::Zput(mut client) = reader else { continue };
                    let key = ObjectKey::new("f").unwrap();
                    let gone = client.ask(&Request::Stat { key, version: None }).unwrap();
                    assert!(matches!(gone, Response::Error(_)), "{gone:?}");
                }
                _ => assert!(reader.again() == [&old[..], b"more"].concat()),
            }
        }
        // A deleted file is let go of.
        assert_rests(vitals, descriptors);
    });
}

/// Offsets around which counts of 31 bits and of pages end.
const MARKS: [u64; 5] = [0, (1 << 31) - 8, 1 << 31, (1 << 31) + 4096, 2 * GIB + GIB / 4 - 8];
const LARGE: u64 = 2 * GIB + GIB / 4;

/// Takes bytes, and looks only at the marks.
struct Marks {
    at: u64,
    seen: usize,
}

impl Write for Marks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (n, mark) in MARKS.into_iter().enumerate() {
            if let Some(from) = mark.checked_sub(self.at)
                && let Some(found) =
                    usize::try_from(from).ok().and_then(|from| bytes.get(from..from + 8))
            {
                assert_eq!(found, format!("mark {n:3}").as_bytes());
                self.seen += 1;
            }
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Each engine sends a file of more than 2 GiB correctly, whole and in ranges.
#[test]
fn engine_sends_file_over_2_gib_whole_and_in_ranges() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = File::create_new(dir.path().join("f")).unwrap();
    file.set_len(LARGE).unwrap();
    for (n, mark) in MARKS.into_iter().enumerate() {
        file.write_all_at(format!("mark {n:3}").as_bytes(), mark).unwrap();
    }
    for engine in ENGINES {
        let server = Configured::start(&config(engine, dir.path()));
        let mut web = WebClient::connect(server.http()).unwrap();
        let mut zput = RawClient::connect(server.zput(), &ClientConfig::Plaintext).unwrap();
        let border = 1 << 31;
        for (offset, length) in [
            (border - 8, 16),
            (border, 8),
            (border - 1, 1),
            (border - 100_000, 200_000),
            (border + 4096, 8),
            (LARGE - 8, 8),
        ] {
            let mut expected = vec![0; length];
            file.read_exact_at(&mut expected, offset).unwrap();
            let range = format!("Range: bytes={offset}-{}\r\n", offset + length as u64 - 1);
            let WebResponse { head, body } = web.get_with("/f", &range).unwrap();
            assert!(head.status == 206 && body == expected, "{engine}, {range}");
            let section = Section::Range { offset, length: length as u64 };
            assert_eq!(ask(&mut zput, section), length as u64);
            assert!(zput.payload().unwrap() == expected, "{engine}, {section:?}");
        }
        // Once per engine, by the doors in turn.
        let mut marks = Marks { at: 0, seen: 0 };
        let started = Instant::now();
        if engine == "sendfile" || engine == "mmap" {
            web.say("GET /f", "").unwrap();
            assert_eq!(web.head().unwrap().length(), LARGE);
            let mut body = io::BufReader::with_capacity(1 << 20, web.stream().take(LARGE));
            io::copy(&mut body, &mut marks).unwrap();
        } else {
            assert_eq!(ask(&mut zput, Section::All), LARGE);
            zput.payload_to(&mut marks).unwrap();
        }
        println!("{engine}: {:.1} s", started.elapsed().as_secs_f64());
        // A mark that lies across two reads is not checked here.
        assert!(marks.at == LARGE && marks.seen >= 3, "{engine}: {} {}", marks.at, marks.seen);
    }
}

/// Drops a file from the page cache. Its bytes are on the disk already.
fn cool(file: &File) {
    fadvise(file, 0, None, Advice::DontNeed).unwrap();
}

/// A file that is on the disk of the build directory, and only there.
fn cold_file(path: &Path, length: u64) -> Vec<u8> {
    let bytes = Pattern::bytes(3, length);
    fs::write(path, &bytes).unwrap();
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    cool(&file);
    bytes
}

/// Each engine sends a file correctly that is not in the page cache, or is evicted meanwhile.
#[test]
fn engine_sends_uncached_file_correctly() {
    for engine in ENGINES {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let bytes = cold_file(&dir.path().join("f"), 5_000_000);
        let server = Configured::start(&config(engine, dir.path()));
        for door in DOORS {
            cool(&File::open(dir.path().join("f")).unwrap());
            assert!(fresh(door, &server) == bytes, "{engine} over {door}");
        }
        // Cooled again and again while it is read: each window may have gone since it was looked
        // at.
        for door in DOORS {
            let mut reader = Reader::begin(door, &server, 5_000_000);
            let file = File::open(dir.path().join("f")).unwrap();
            let cooling = std::thread::spawn(move || {
                for _ in 0..100 {
                    cool(&file);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let (got, ended) = reader.read(5_000_000);
            assert!(!ended && got == bytes, "{engine} over {door}");
            cooling.join().unwrap();
        }
    }
}

/// Threads of the server by their names (proc(5), `comm`).
fn threads(pid: u32, name: &str) -> BTreeSet<u32> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| task.unwrap().path())
        .filter(|task| fs::read_to_string(task.join("comm")).unwrap_or_default().starts_with(name))
        .map(|task| task.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect()
}

/// What is not in memory is read by the threads that may wait for the disk. Where a worker looks
/// for itself it says that it does not wait, and the calls that move payload come for a window only
/// once that was loaded.
#[test]
fn engine_worker_reads_no_payload_from_disk() {
    or_skip!(can_trace());
    const WINDOW: u64 = 512 * 1024;
    const COLD: u64 = 12 * 1024 * 1024;
    for engine in ENGINES {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let bytes = cold_file(&dir.path().join("f"), COLD);
        let trace = dir.path().join("trace");
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-y", "-q", "-s", "8", "-o"]).arg(&trace);
        command.args(["-e", "trace=sendfile,read,pread64,preadv,preadv2,splice,mmap"]);
        command.arg(command_path("zserve"));
        let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::rename(dir.path().join("f"), tree.path().join("f")).unwrap();
        let server = Configured::start_by(command, &config(engine, tree.path()));
        let pid = server.pid().as_raw_nonzero().get().cast_unsigned();
        cool(&File::open(tree.path().join("f")).unwrap());
        let body = WebClient::connect(server.http()).unwrap().get("/f").unwrap().body;
        assert!(body == bytes, "{engine}");
        // A thread gives itself its name, so not before it has done something.
        let workers = threads(pid, "worker-");
        assert_eq!(workers.len(), 1);
        let loaders = threads(pid, "load");
        let (code, log) = server.stop();
        assert_eq!(code, Some(0), "{log}");
        let started = Instant::now();
        let text = loop {
            let text = fs::read_to_string(&trace).unwrap();
            if text.contains("+++ exited with 0 +++\n") {
                break text;
            }
            assert!(started.elapsed() < PATIENCE, "strace does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        let on_file: Vec<Call> =
            calls(&text).into_iter().filter(|call| call.arguments.contains("/f>")).collect();
        let by_worker = |call: &&Call| workers.contains(&call.thread);
        let reads = ["read", "pread64", "preadv", "preadv2"];
        let loads: Vec<&Call> =
            on_file.iter().filter(|call| !by_worker(call) && call.is(&reads)).collect();
        // Not by those that put and list: a commit that waits for the disk stalls no get.
        let sizes = |call: &&&Call| call.result > 4096;
        assert!(loads.iter().any(|call| loaders.contains(&call.thread)), "{engine}: {loads:?}");
        assert!(loads.iter().filter(sizes).all(|call| loaders.contains(&call.thread)), "{engine}");
        for call in on_file.iter().filter(by_worker).filter(|call| call.is(&reads)) {
            let does_not_wait = call.arguments.contains("RWF_NOWAIT");
            // What `copy` reads is there: it was looked at, or loaded, before.
            assert!(does_not_wait || engine == "copy", "{engine}: {call:?}");
        }
        let moves: Vec<&Call> = on_file
            .iter()
            .filter(by_worker)
            .filter(|call| match engine {
                "sendfile" => call.is(&["sendfile"]),
                "splice" => call.is(&["splice"]),
                "copy" => call.is(&["pread64", "read"]) && call.result > 1,
                _ => call.is(&["mmap"]),
            })
            .collect();
        assert!(!moves.is_empty(), "{engine}: nothing moved the file:\n{text}");
        // No byte is moved before a thread that may wait has been there. It asks for up to seven
        // windows behind its own, and they are found in memory.
        let mut moved = 0;
        for call in moves {
            let before = loads.iter().filter(|load| load.ended < call.began);
            let furthest = before.map(|load| end_of_read(load)).max();
            let furthest =
                furthest.unwrap_or_else(|| panic!("{engine}: nothing was loaded before {call:?}"));
            moved = match engine {
                // What the socket did not take is read again.
                "copy" => moved.max(end_of_read(call)),
                "mmap" => moved + WINDOW,
                _ => moved + call.result.max(0).cast_unsigned(),
            };
            assert!(
                moved <= furthest + 8 * WINDOW,
                "{engine}: {moved} bytes moved, loaded up to {furthest}: {call:?}"
            );
        }
        assert!(moved >= COLD, "{engine}: {moved} bytes moved");
    }
}

/// Where a `pread64` ended: its last argument is where it began.
fn end_of_read(call: &Call) -> u64 {
    let offset = call.arguments.rsplit(", ").next().and_then(|offset| offset.parse::<u64>().ok());
    offset.unwrap_or_else(|| panic!("{call:?}")) + call.result.max(0).cast_unsigned()
}
