//! Many files in one command: several are on their way at once, and what is said, stored and left
//! behind is what it would be if they had gone one by one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use zput::{
    PutReceipt, Silent,
    cli::{Directories, GetOptions, JOBS, KeyPath, NamedFile, PutOptions, Session},
};
use zput_proto::{message::Request, name::BlobName};
use zput_tests::{
    Fate, Machine, Pair, Pattern, Ran, ServerProcess, Talk, Uploads, Way, names, until,
};

/// What a server says before it answers a put: its hello, the echo of both, and a Pong (PROTOCOL 1
/// and 3).
const BEFORE_ANSWERS: u64 = 101;
/// Of one put: Begun, SliceHeld twice, Committed with a varint of 9 bytes.
const ANSWERS: u64 = 3 * 5 + 14;

/// A command that runs while the test does something else.
fn spawn(home: &Machine, retries: &str, arguments: &[&str], files: &[String]) -> Child {
    let mut command = home.command("zput");
    command.args(arguments).args(files).env("ZPUT_RETRIES", retries);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn zput(home: &Machine, retries: &str, arguments: &[&str], files: &[String]) -> Ran {
    spawn(home, retries, arguments, files).wait_with_output().unwrap().into()
}

/// Writes this many different small files; returns their names.
fn small_files(home: &Machine, count: usize) -> Vec<String> {
    let name = |n: usize| format!("f{n:04}");
    for n in 0..count {
        home.write(&name(n), Pattern::bytes(n as u64, (n % 7 * 1000) as u64));
    }
    (0..count).map(name).collect()
}

/// What comes back of `files` is what they are.
#[track_caller]
fn are_stored(home: &Machine, files: &[String]) {
    fs::create_dir(home.file("back")).unwrap();
    let _got = home.run("zget", [&["-o".into(), "back/".into()], files].concat()).ok();
    for file in files {
        assert!(home.read(&format!("back/{file}")) == home.read(file), "{file} is another one");
    }
    fs::remove_dir_all(home.file("back")).unwrap();
}

/// All of `files` are stored, once each, and come back as they are.
#[track_caller]
fn are_stored_once(pair: &Pair, files: &[String]) {
    pair.line.plan([]);
    are_stored(&pair.home, files);
    let store = pair.server.store();
    assert_eq!((stored(store, "objects"), stored(store, "history")), (files.len(), 0));
    until("staging is empty", || names(&store.join("staging")).is_empty());
}

/// Files on a shelf of a store.
fn stored(store: &Path, shelf: &str) -> usize {
    let shards = fs::read_dir(store.join(shelf)).unwrap();
    shards.map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
}

/// How many commits were sent, on each connection.
fn commits(talks: &[Talk]) -> Vec<usize> {
    let is_commit = |request: &&Request| matches!(request, Request::Commit);
    talks.iter().map(|talk| Uploads::of(talk).requests.iter().filter(is_commit).count()).collect()
}

/// A put of many small files has eight uploads in flight before the first answer.
#[test]
fn zput_batch_keeps_eight_uploads_in_flight() {
    let pair = Pair::in_clear(&[]);
    let files = small_files(&pair.home, 40);
    // Nobody hears an answer: what is sent now is sent without one.
    pair.line.plan([Fate::Hold(Way::Down, BEFORE_ANSWERS); JOBS]);
    let zput = spawn(&pair.home, "5", &[], &files);
    until("eight are on their way", || commits(&pair.line.so_far()) == [1; 8]);
    let talks = pair.line.so_far();
    assert!(talks.iter().all(|talk| talk.down.len() as u64 == BEFORE_ANSWERS));
    until("they are stored", || stored(pair.server.store(), "objects") == 8);
    pair.line.hang_up();
    let ran = Ran::from(zput.wait_with_output().unwrap()).ok();
    // It was told once that the connections ended, and of each file that it was there.
    let said = |what: &str| ran.stderr.lines().filter(|line| line.contains(what)).count();
    assert_eq!((said("retrying in"), said("was already stored")), (1, 8));
    are_stored_once(&pair, &files);
}

/// The number of connections grows with the files, up to eight or to --jobs.
#[test]
fn zput_batch_makes_connections_by_number_of_files() {
    let pair = Pair::in_clear(&[]);
    let files = small_files(&pair.home, 40);
    for (arguments, count, connections) in [
        (&[][..], 2, 1),
        (&[], 4, 1),
        (&[], 9, 3),
        (&[], 40, 8),
        (&["--jobs", "3"], 40, 3),
        (&["-j1"], 40, 1),
    ] {
        let _before = pair.line.talks();
        let _stored = zput(&pair.home, "0", arguments, &files[..count]).ok();
        let talks = pair.line.talks();
        // The first may have done it all before the last is there.
        assert!((1..=connections).contains(&talks.len()), "{arguments:?} {count}: {}", talks.len());
        assert_eq!(commits(&talks).iter().sum::<usize>(), count);
    }
}

/// Results are printed in the order of the files, whatever order the puts end in.
#[test]
fn zput_batch_reports_in_the_order_of_its_files() {
    let pair = Pair::in_clear(&[]);
    let mut files = small_files(&pair.home, 30);
    // Larger than what goes beside others, and of two parts; they take longer than what is behind
    // them.
    for (name, length) in [("f0003", 300_000), ("f0010", 17_000_000), ("f0020", 262_145)] {
        pair.home.write(name, Pattern::bytes(1, length));
    }
    // What failed has a line of its own, with an error and without a length.
    let all = |ran: &Ran| -> Vec<serde_json::Value> {
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let lines = |ran: &Ran| -> Vec<(String, u64)> {
        let stored = |line: serde_json::Value| {
            Some((line["name"].as_str()?.to_owned(), line["length"].as_u64()?))
        };
        all(ran).into_iter().filter_map(stored).collect()
    };
    let expected = |files: &[String]| -> Vec<(String, u64)> {
        let length = |name: &String| pair.home.read(name).len() as u64;
        files.iter().map(|name| (name.clone(), length(name))).collect()
    };
    let ran = zput(&pair.home, "0", &["--json"], &files).ok();
    assert_eq!(lines(&ran), expected(&files));
    assert_eq!(ran.stderr, "");
    are_stored_once(&pair, &files);

    // One bad file does not keep the others from it.
    fs::create_dir(pair.home.file("directory")).unwrap();
    let good = files.clone();
    files.insert(25, "directory".into());
    files.insert(5, "missing".into());
    let ran = zput(&pair.home, "0", &["--json"], &files).ended(3);
    assert_eq!(lines(&ran), expected(&good));
    let codes = |ran: &Ran, places: [usize; 2]| {
        places.map(|place| all(ran)[place]["error"]["exit"].as_u64())
    };
    // What cannot be read is told of before anything is put.
    assert_eq!(codes(&ran, [0, 1]), [Some(4), Some(1)]);
    assert_eq!(
        ran.stderr,
        "zput: cannot read missing: No such file or directory (os error 2)\n\
         zput: directory is a directory (tar c directory | zput --name directory.tar -)\n\
         zput: 2 of 32 failed\n"
    );

    // So it is with what a server refuses.
    pair.home.write("new1", b"1");
    pair.home.write("new2", b"2");
    let mixed: Vec<String> =
        ["f0001", "new1", "f0002", "f0010", "new2"].map(str::to_owned).to_vec();
    let ran = zput(&pair.home, "0", &["--json", "--if-absent"], &mixed).ended(3);
    assert_eq!(lines(&ran), expected(&["new1".into(), "new2".into()]));
    let at = pair.home.key_field("remote");
    let exists = |name: &str| format!("zput: {name}: exists already on {at}\n");
    let told = [exists("f0001"), exists("f0002"), exists("f0010")].concat();
    assert_eq!(ran.stderr, format!("{told}zput: 3 of 5 failed\n"));
    are_stored(&pair.home, &[&good[..], &["new1".into(), "new2".into()]].concat());
}

/// Each file is stored once although connections are cut at various points.
#[test]
fn zput_batch_over_cut_connections_stores_each_file_once() {
    for way in [Way::Up, Way::Down] {
        let pair = Pair::in_clear(&[]);
        let files = small_files(&pair.home, 60);
        // In the handshake; in front of the first answer, inside it, in front of a commit's, behind
        // one, and inside others.
        let fates = [50, 0, 1, ANSWERS - 14, ANSWERS, ANSWERS + 1, 2 * ANSWERS - 1];
        let fates = fates.map(|bytes| match (way, bytes) {
            (Way::Down, 50) => Fate::Cut(way, 50),
            (Way::Down, bytes) => Fate::Cut(way, BEFORE_ANSWERS + bytes),
            (Way::Up, bytes) => Fate::Cut(way, 700 * bytes),
        });
        pair.line.plan(fates);
        let ran = zput(&pair.home, "5", &[], &files).ok();
        assert!(ran.stderr.contains("retrying in"), "{}", ran.stderr);
        are_stored_once(&pair, &files);
    }
}

/// Each file is stored once although the server is killed and restarted meanwhile.
#[test]
fn zput_batch_stores_each_file_once_when_server_restarts() {
    let mut pair = Pair::in_clear(&[]);
    let files = small_files(&pair.home, 300);
    // About ten files come through on each, so that some are left for the next server.
    pair.line.plan([Fate::Hold(Way::Up, 60_000); 8]);
    let zput = spawn(&pair.home, "8", &[], &files);
    let store = pair.server.store().to_owned();
    until("some are stored", || stored(&store, "objects") > 20);
    pair.server.restart(&Pair::ARGUMENTS);
    assert!(stored(&store, "objects") < files.len(), "it came too late");
    pair.line.lead_to(pair.server.address());
    let ran = Ran::from(zput.wait_with_output().unwrap()).ok();
    assert!(ran.stderr.contains("retrying in"), "{}", ran.stderr);
    are_stored_once(&pair, &files);
}

/// Without retries the file whose answer is lost is reported, and the others are stored.
#[test]
fn zput_batch_without_retries_reports_file_of_lost_answer() {
    let pair = Pair::in_clear(&[]);
    let files = small_files(&pair.home, 20);
    // The third put's answer is lost on the one connection that is made for so few: all but its
    // first byte.
    pair.line.plan([Fate::Cut(Way::Down, BEFORE_ANSWERS + 2 * ANSWERS + 3 * 5 + 1)]);
    let ran = zput(&pair.home, "0", &["--json", "--jobs", "2"], &files[..4]).ended(3);
    let named = |text: &str| -> Vec<bool> { files[..4].iter().map(|f| text.contains(f)).collect() };
    let stored: String =
        ran.text().lines().filter(|line| !line.starts_with("{\"error\"")).collect();
    assert_eq!(named(&stored), [true, true, false, true]);
    let errors: Vec<&str> = ran.stderr.lines().collect();
    let unknown = "is unknown (zblob stat --versions NAME shows what it has)";
    assert!(errors[0].contains("f0002: ") && errors[0].ends_with(unknown), "{}", ran.stderr);
    assert_eq!(errors[1..], ["zput: 1 of 4 failed"]);
    // It was stored.
    are_stored_once(&pair, &files[..4]);
}

/// Without a server only the first file is retried, and each file is reported.
#[test]
fn zput_batch_without_server_retries_only_the_first_file() {
    let pair = Pair::in_clear(&[]);
    let files = small_files(&pair.home, 20);
    pair.line.lead_to("127.0.0.1:1");
    let ran = zput(&pair.home, "2", &[], &files).ended(3);
    let waits: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("retrying in")).collect();
    assert!(waits.len() == 2 && waits.iter().all(|l| l.contains("f0000")), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("zput: 20 of 20 failed\n"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 2 + 20 + 1);
}

/// A limit of two connections is enough for many files; a denial is reported for each file.
#[test]
fn zput_batch_accepts_connection_limit_and_reports_denial() {
    let pair = Pair::in_clear(&["--max-connections", "2"]);
    let files = small_files(&pair.home, 60);
    let ran = zput(&pair.home, "5", &[], &files).ok();
    assert_eq!(ran.stderr, "");
    are_stored_once(&pair, &files);

    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    let reads = server.invite(&["--scopes", "get"]);
    let _joined = home.run_with("zblob key", ["join"], reads.as_bytes()).ok();
    let files = small_files(&home, 20);
    let ran = zput(&home, "5", &[], &files).ended(3);
    assert!(!ran.stderr.contains("retrying in"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 20 + 1, "{}", ran.stderr);
    for (line, file) in ran.stderr.lines().zip(&files) {
        assert!(line.starts_with(&format!("zput: {file}: ")) && line.contains("denied"), "{line}");
    }
}

/// A batch of 100 files is stored over TLS and into an embedded store.
#[test]
fn zput_batch_works_over_tls_and_into_embedded_store() {
    let served = Machine::new();
    let server = ServerProcess::start(&served.path().join("store"), &[]);
    server.admit(&served);
    for home in [served, Machine::new()] {
        let files = small_files(&home, 100);
        let ran = zput(&home, "0", &["--json"], &files).ok();
        assert_eq!(ran.text().lines().count(), 100);
        are_stored(&home, &files);
        // Once more, as new versions, and the record has moved on with each.
        let _again = zput(&home, "0", &[], &files);
        are_stored(&home, &files);
    }
}

/// A batch that puts the name of an interrupted put removes its journal.
#[test]
fn zput_batch_discards_journal_of_interrupted_put_of_same_name() {
    let pair = Pair::in_clear(&[]);
    let files = small_files(&pair.home, 10);
    let small = pair.home.read("f0004");
    pair.home.write("f0004", Pattern::bytes(1, 40_000_000));
    pair.line.plan([Fate::Cut(Way::Up, 20_000_000)]);
    let _cut = zput(&pair.home, "0", &[], &files[4..5]).ended(5);
    let journals = pair.home.path().join(".local/state/zput/puts");
    assert_eq!(stored(&journals, "."), 1);
    pair.home.write("f0004", &small);
    let _stored = zput(&pair.home, "5", &[], &files).ok();
    assert_eq!(stored(&journals, "."), 0);
    are_stored_once(&pair, &files);
}

/// SIGINT ends a batch with exit 130, without temporary files, and it can be repeated.
#[test]
fn zput_batch_interrupted_by_signal_leaves_nothing_behind() {
    let pair = Pair::in_clear(&[]);
    let files = small_files(&pair.home, 300);
    let child = spawn(&pair.home, "5", &[], &files);
    until("some are stored", || stored(pair.server.store(), "objects") > 10);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(stored(pair.server.store(), "objects") < files.len(), "it came too late");
    let seen = pair.home.path().join(".local/state/zput/seen");
    let mut remembered = 0;
    for vault in fs::read_dir(seen).unwrap() {
        for entry in fs::read_dir(vault.unwrap().path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with(".zput-"), "{name} was left behind");
            remembered += 1;
        }
    }
    assert!(remembered > 0, "nothing was looked at");
    let _again = zput(&pair.home, "5", &[], &files).ok();
    are_stored(&pair.home, &files);
}

/// Of several files with one name in put_batch the last one becomes current.
#[test]
fn put_batch_of_one_name_several_times_makes_the_last_current() {
    let home = Machine::new();
    home.write("first", b"first");
    let _made = home.run("zput", ["first"]).ok();
    let key_file = KeyPath::new(home.key_file()).open().unwrap();
    let directories = Directories {
        config: home.path().join(".config/zput"),
        state: home.path().join(".local/state/zput"),
        data: home.path().join(".local/share/zput"),
    };
    let mut client = Session::new(key_file, &directories).unwrap();
    let names = small_files(&home, 12);
    let mut files: Vec<NamedFile> = names
        .iter()
        .map(|file| NamedFile { name: BlobName::parse(file).unwrap(), path: home.file(file) })
        .collect();
    let same = files[2].name.clone();
    files[5].name = same.clone();
    files[11].name = same.clone();
    let mut ended = Vec::new();
    let options = PutOptions::default();
    client.put_batch(&files, &options, JOBS, &Silent, |item| {
        assert_eq!(*item.file, files[ended.len()]);
        ended.push(item.result.unwrap());
    });
    let receipts: Vec<PutReceipt> = ended;
    let of_same: Vec<_> =
        [2, 5, 11].map(|n| (receipts[n].version, receipts[n].generation)).to_vec();
    assert!(of_same.is_sorted() && of_same.iter().collect::<BTreeSet<_>>().len() == 3);
    let mut current = Vec::new();
    client.get(&same, &GetOptions::default(), &mut current, &Silent).unwrap();
    assert_eq!(current, home.read("f0011"));
    // None at all is nothing to do.
    client.put_batch(&[], &options, JOBS, &Silent, |item| panic!("{item:?}"));
}
