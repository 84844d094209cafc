//! What the processes ask of the kernel, and in which order: seen by strace, where it is installed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use zput::{
    Silent,
    cli::{Directories, KeyPath, PutOptions, Session},
};
use zput_proto::name::BlobName;
use zput_tests::{
    Call, Machine, PATIENCE, Pattern, Ran, ServerProcess, calls, can_trace, command_path, or_skip,
};

/// What moves bytes, names them, or makes them durable.
const CALLS: &str = "trace=openat,openat2,read,readv,pread64,preadv,preadv2,mmap,splice,copy_file_range,sendfile,write,\
     writev,pwrite64,sendto,sendmsg,recvfrom,recvmsg,link,linkat,rename,renameat,renameat2,unlink,unlinkat,fsync,\
     fdatasync,sync_file_range,syncfs";
/// A server under strace, and where its trace goes.
fn traced_server(home: &Machine, args: &[&str]) -> (ServerProcess, PathBuf) {
    let trace = home.path().join("trace");
    let mut command = Command::new("strace");
    // -D: the tracer is not the parent, so the child is the server itself.
    command.args(["-D", "-f", "-y", "-q", "-s", "8", "-e", CALLS, "-o"]).arg(&trace);
    command.arg(command_path("zserve"));
    (ServerProcess::start_by(command, &home.path().join("store"), args), trace)
}

/// Stops the server, and gives its calls.
fn stopped(server: ServerProcess, trace: &Path) -> Vec<Call> {
    let pid = server.pid().to_string();
    assert_eq!(server.stop(), Some(0));
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(trace).unwrap();
        let last = |line: &str| line.starts_with(&pid) && line.ends_with("+++ exited with 0 +++");
        if text.lines().any(last) {
            return calls(&text);
        }
        assert!(started.elapsed() < PATIENCE, "strace does not end:\n{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command under strace; gives its calls.
fn traced(home: &Machine, name: &str, arguments: &[&str]) -> Vec<Call> {
    let trace = home.path().join("trace");
    let inner = home.command(name);
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-s", "8", "-e", CALLS, "-o"]).arg(&trace);
    command.arg(inner.get_program()).args(arguments);
    command.current_dir(home.file(".")).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _ran = Ran::from(command.output().unwrap()).ok();
    calls(&fs::read_to_string(trace).unwrap())
}

/// The one object of a store.
fn only_object(store: &Path) -> PathBuf {
    let objects: Vec<_> = fs::read_dir(store.join("objects"))
        .unwrap()
        .flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap())
        .map(|object| object.unwrap().path())
        .collect();
    let [object] = &objects[..] else { panic!("{objects:?}") };
    object.clone()
}

/// With the engine splice the payload is sent by splice(2) and not read by the server.
#[test]
fn engine_splice_sends_payload_without_reading_it() {
    leaves_inside_the_kernel("splice");
}

/// With the engine sendfile the payload is sent by sendfile(2), not read by the server.
#[test]
fn engine_sendfile_sends_payload_without_reading_it() {
    leaves_inside_the_kernel("sendfile");
}

/// The payload leaves the server by `engine` alone: no byte of it passes through its memory, but
/// for those that are looked at to see whether they are in memory, one for each window of 512 KiB.
/// Of the object's file it reads no more than its own record at the end.
fn leaves_inside_the_kernel(engine: &str) {
    or_skip!(can_trace());
    let home = Machine::new();
    let (server, trace) = traced_server(&home, &["--engine", engine]);
    server.admit(&home);
    let bytes = Pattern::bytes(1, 40_000_000);
    let _stored = home.run_with("zput", ["--name", "blob", "-"], &bytes).ok();
    let object = only_object(server.store());
    // STORE, the record: 36 bytes for each of header, three parts and footer; a key of 64; 136.
    let length = i64::try_from(fs::metadata(&object).unwrap().len()).unwrap();
    // FORMAT 3: the header says how long it is. It travels inside the answer, not with the payload.
    let prefix: [u8; 14] = fs::read(&object).unwrap()[..14].try_into().unwrap();
    let header = i64::from(u32::from_be_bytes(prefix[10..].try_into().unwrap()));
    let payload = length - header - 5 * 36 - 64 - 136;
    // The longest trailer begins here: a key of 1,024, and 136.
    let record = length - 1160;
    let object = object.to_str().unwrap().to_owned();

    assert!(home.run("zget", ["-o", "-", "blob"]).ok().stdout == bytes);
    let calls = stopped(server, &trace);
    let opened = calls
        .iter()
        .position(|call| {
            call.is(&["openat", "openat2"])
                && call.arguments.contains(&object[object.len() - 64..])
                && call.result >= 0
        })
        .unwrap_or_else(|| panic!("the object was not opened"));
    // The put is over when its object is opened for the get.
    let calls = &calls[opened..];
    let sent: i64 = calls
        .iter()
        .filter(|call| call.is(&[engine]) && call.arguments.contains(&format!("<{object}>")))
        .map(|call| call.result.max(0))
        .sum();
    assert_eq!(sent, payload);
    let mut looks = 0;
    for call in calls {
        if call.on(&object) && call.is(&["pread64", "preadv", "preadv2"]) {
            // preadv2 has its flags behind the offset.
            let behind = usize::from(call.is(&["preadv2"]));
            let offset: i64 = call.arguments.rsplit(", ").nth(behind).unwrap().parse().unwrap();
            let is_header = offset == 0 && call.result == header;
            let is_look = call.is(&["preadv2"]) && call.result <= 1;
            looks += i64::from(is_look);
            assert!(is_header || is_look || offset >= record, "it reads the payload: {call:?}");
        } else if call.on(&object) {
            let allowed = call.is(&["openat", "openat2"]) || call.is(&[engine]);
            assert!(allowed, "it touches the payload: {call:?}");
        }
        let maps = call.is(&["mmap", "splice", "copy_file_range"]) && !call.is(&[engine]);
        assert!(!(maps && call.arguments.contains(&object)), "it maps the payload: {call:?}");
    }
    assert!(looks <= length / 524_288 + 2, "{looks} bytes were looked at");
    let written: i64 = calls.iter().filter(|c| c.is_send()).map(|c| c.result.max(0)).sum();
    assert!(written < 16_384, "{written} bytes were copied into sockets");
}

/// STORE, "Put": data and record are on disk before the object has its name, the name is on disk
/// before the client hears of it.
#[test]
fn put_is_answered_after_data_name_and_history_are_synced() {
    or_skip!(can_trace());
    let home = Machine::new();
    let (server, trace) = traced_server(&home, &[]);
    server.admit(&home);
    let key_file = KeyPath::new(home.key_file()).open().unwrap();
    let directories = Directories {
        config: home.path().join("c"),
        data: home.path().join("d"),
        state: home.path().join("s"),
    };
    // One connection for all three puts: whatever the server says between two of them is an answer.
    let mut client = Session::new(key_file, &directories).unwrap();
    for (name, length) in [("a", 20_000_000), ("a", 1_000_000), ("b", 100)] {
        let source = Cursor::new(Pattern::bytes(length, length));
        let name = BlobName::parse(name).unwrap();
        client.put(&name, source, &PutOptions::default(), &Silent).unwrap();
    }
    drop(client);
    let store = server.store().to_str().unwrap().to_owned();
    let calls = stopped(server, &trace);

    let renames: Vec<&Call> =
        calls.iter().filter(|c| c.is_rename() && c.arguments.contains("/objects/")).collect();
    assert_eq!(renames.len(), 3, "{renames:#?}");
    for (n, rename) in renames.iter().enumerate() {
        assert_eq!(rename.result, 0);
        let staging = format!("{store}/staging/");
        let upload = rename.arguments.split('"').nth(1).unwrap();
        let staged = format!("{staging}{upload}");

        // Before the name: data and record were written, and synced after that.
        let on_staged = |call: &&Call| call.on(&staged) && call.ended < rename.began;
        let last_write = calls
            .iter()
            .filter(on_staged)
            .rfind(|c| c.is(&["write", "writev", "pwrite64"]))
            .unwrap_or_else(|| panic!("put {n}: nothing was written"));
        let synced = calls
            .iter()
            .filter(on_staged)
            .find(|c| c.is(&["fdatasync", "fsync"]) && c.began > last_write.ended)
            .unwrap_or_else(|| panic!("put {n}: the record was not synced"));
        assert_eq!(synced.result, 0);

        // Behind the name, before the answer: its directory.
        let answer = calls
            .iter()
            .filter(|c| c.is_send() && c.began > rename.began)
            .min_by_key(|c| c.began)
            .unwrap_or_else(|| panic!("put {n}: it was not answered"));
        let heard = calls.iter().filter(|c| c.is_receipt() && c.ended > rename.ended);
        let heard = heard.map(|c| c.ended).min().unwrap_or(usize::MAX);
        assert!(answer.began < heard, "put {n}: the answer came before the name");
        let synced_between = |kind: &str, from: usize, to: usize| {
            let directory = format!("{store}/{kind}");
            calls
                .iter()
                .filter(|c| c.is(&["fsync"]) && c.result == 0 && c.on(&directory))
                .any(|c| c.began > from && c.ended < to)
        };
        let in_time = synced_between("objects/", rename.ended, answer.began);
        assert!(in_time, "put {n}: objects/ was not synced before the answer");

        // A second version: the first one has its name in history, durably, before it loses its
        // own.
        let linked = calls.iter().find(|c| {
            c.is(&["link", "linkat"])
                && c.arguments.contains("/history/")
                && c.result == 0
                && c.ended < rename.began
                && n.checked_sub(1).is_none_or(|before| c.began > renames[before].ended)
        });
        assert_eq!(linked.is_some(), n == 1, "put {n}: {linked:?}");
        if let Some(linked) = linked {
            let in_time = synced_between("history/", linked.ended, rename.began);
            assert!(in_time, "put {n}: history/ was not synced before the rename");
        }
    }
}

/// A file gets its name when its bytes are on disk, and the directory is synced after that.
fn is_published(calls: &[Call], directory: &Path, name: &str) {
    let rename = calls
        .iter()
        .find(|c| {
            (c.is_rename() || c.is(&["link", "linkat"]))
                && c.result == 0
                && c.arguments.contains(&format!("{name}\""))
        })
        .unwrap_or_else(|| panic!("{name} was not renamed"));
    let temporary = |c: &&Call| c.on("/.zput-") && c.ended < rename.began;
    let written = calls.iter().filter(temporary).rfind(|c| c.is(&["write", "writev", "pwrite64"]));
    let written = written.unwrap_or_else(|| panic!("{name} was not written beside its target"));
    let synced = calls
        .iter()
        .filter(temporary)
        .any(|c| c.is(&["fsync", "fdatasync"]) && c.result == 0 && c.began > written.ended);
    assert!(synced, "{name} was renamed before it was synced");
    let named = calls.iter().any(|c| {
        c.is(&["fsync"])
            && c.result == 0
            && c.began > rename.ended
            && c.path().map(Path::new) == Some(directory)
    });
    assert!(named, "the directory of {name} was not synced");
}

/// A key file and a got file are synced before they get their names, and the directory after.
#[test]
fn client_syncs_file_before_it_gets_its_name() {
    or_skip!(can_trace());
    let home = Machine::new();
    home.write("blob", Pattern::bytes(1, 17_000_000));
    // The first put of all makes a key file.
    let put = traced(&home, "zput", &["blob"]);
    is_published(&put, &home.path().join(".config/zput"), "default.zkey");

    let work = home.path().join("work").canonicalize().unwrap();
    let get = traced(&home, "zget", &["-o", "got", "blob"]);
    is_published(&get, &work, "got");
    let again = traced(&home, "zget", &["--force", "-o", "got", "blob"]);
    is_published(&again, &work, "got");
}
