//! `zserve scrub` and `zserve check`: exit codes, lines, JSON, beside a running server.

use std::{fs, os::unix::fs::FileExt as _, process::Output};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use zput_proto::message::{ErrorCode, Kind, Section};
use zput_testkit::{Zserve, until};

use super::{
    peer::{begin, code, get},
    zserve::{self, open, run},
};

/// Where the object "bad" is: SHA-256("bad").
const BAD: &str = "objects/2f/2f05d4b689d270cafb02285f35f44866f7dc8a2d368a3f9d1124373eeab31fb1";
const ASIDE: &str =
    "quarantine/objects-2f05d4b689d270cafb02285f35f44866f7dc8a2d368a3f9d1124373eeab31fb1";

/// A store with two objects, and the server that serves it.
fn served() -> (TempDir, Zserve) {
    let dir = tempfile::tempdir().unwrap();
    let server = open(&dir.path().join("store"), &[]);
    let mut peer = zserve::plain(&server);
    peer.put("good", &[7; 100_000], 50_000);
    peer.put("bad", &[8; 3000], 1000);
    (dir, server)
}

fn on(dir: &TempDir, command: &str, more: &[&str]) -> Output {
    let store = dir.path().join("store");
    run(&[&[command, "--store", store.to_str().unwrap()], more].concat())
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

/// Each line of the output as an object.
fn objects(output: &Output) -> Vec<Value> {
    lines(output).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// On a sound store zserve scrub and check print their sums and end with exit code 0.
#[test]
fn zserve_scrub_and_check_of_sound_store_exit_0() {
    let (dir, _server) = served();
    let scrubbed = on(&dir, "scrub", &[]);
    assert_eq!(scrubbed.status.code(), Some(0), "{scrubbed:?}");
    let said = lines(&scrubbed);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("2 files with 103000 bytes in "), "{said:?}");
    assert!(
        said[0].ends_with(" 0 of them damaged; complete: the end of the store was reached"),
        "{said:?}"
    );
    let checked = on(&dir, "check", &[]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let sums = "2 current versions, 0 earlier and 0 deleted ones, 103000 bytes in all; \
                0 of them damaged";
    let left = "0 uploads in progress or kept (0 bytes), 0 temporary files, 0 files in quarantine";
    assert_eq!(lines(&checked), [sums, left]);
}

/// The command zserve scrub quarantines a corrupt object and ends with exit code 8.
#[test]
fn zserve_scrub_of_corrupt_object_exits_8_and_quarantines() {
    let (dir, server) = served();
    let file = dir.path().join("store").join(BAD);
    let opened = fs::OpenOptions::new().write(true).open(&file).unwrap();
    opened.write_all_at(b"x", 1500).unwrap();
    // The record holds: a check does not read what is behind it.
    assert_eq!(on(&dir, "check", &[]).status.code(), Some(0));
    let output = on(&dir, "scrub", &["--json"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let mut said = objects(&output);
    let sums = said.pop().unwrap();
    assert_eq!(
        said,
        [json!({
            "event": "damage",
            "file": BAD,
            "key": "bad",
            "error": "slice 1 does not match its digest",
            "quarantined": ASIDE,
        })]
    );
    for (field, value) in [
        ("event", json!("scrub_summary")),
        ("files", json!(2)),
        ("bytes", json!(100_000)),
        ("damaged", json!(1)),
        ("pass_complete", json!(true)),
        ("stopped", json!(false)),
    ] {
        assert_eq!(sums[field], value, "{field}");
    }
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("ERROR") && log.contains("damage was found"), "{log}");
    assert!(!file.exists() && dir.path().join("store").join(ASIDE).exists());

    let mut peer = zserve::plain(&server);
    let answer = peer.ask(&get("bad", &[Section::All], Kind::Plain)).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::NotFound));
    peer.ask(&get("good", &[Section::All], Kind::Plain)).unwrap();
    assert_eq!(peer.payload().unwrap(), [7; 100_000]);

    let again = on(&dir, "scrub", &[]);
    assert_eq!(again.status.code(), Some(0), "it was set aside: {again:?}");
    assert!(lines(&on(&dir, "check", &[]))[1].ends_with("1 files in quarantine"));
}

/// The command zserve check finds a corrupt record, ends with 8 and leaves the file.
#[test]
fn zserve_check_finds_corrupt_record_and_leaves_it() {
    let (dir, _server) = served();
    let file = dir.path().join("store").join(BAD);
    let length = fs::metadata(&file).unwrap().len();
    let opened = fs::OpenOptions::new().write(true).open(&file).unwrap();
    opened.write_all_at(b"x", length - 50).unwrap();
    let output = on(&dir, "check", &[]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let line = format!("{BAD}: its record does not match its digest; left in place");
    assert_eq!(lines(&output)[0], line);
    assert!(file.exists());
}

/// What a server finds out when a sync fails (STORE, "Suspicion").
fn suspect(dir: &TempDir) {
    let text = "format = 2\nsince = \"2026-11-21T10:00:00Z\"\ndoing = \"sync a record\"\n";
    fs::write(dir.path().join("store/suspect.toml"), text).unwrap();
}

/// The command zserve check reports a suspect store; --clear-suspect makes it writable.
#[test]
fn zserve_check_clear_suspect_makes_store_writable() {
    let (dir, server) = served();
    let not_suspect = on(&dir, "check", &["--clear-suspect"]);
    assert_eq!(not_suspect.status.code(), Some(0), "{not_suspect:?}");
    assert_eq!(lines(&not_suspect)[2], "the store is not suspect: there is nothing to clear");

    suspect(&dir);
    let since = "suspect since 2026-11-21T10:00:00Z, when it could not sync a record";
    let sums = "2 current versions, 0 earlier and 0 deleted ones, 103000 bytes in all; \
                0 of them damaged";
    let left = "0 uploads in progress or kept (0 bytes), 0 temporary files, 0 files in quarantine";
    let told = on(&dir, "check", &[]);
    assert_eq!(told.status.code(), Some(8), "{told:?}");
    let end = "the store takes no writes until zserve check --clear-suspect has read all of it";
    assert_eq!(lines(&told), [since, sums, left, end]);
    let mut peer = zserve::plain(&server);
    let begin = begin("new", Kind::Plain);
    assert_eq!(code(&peer.ask(&begin).unwrap()), Some(ErrorCode::Suspect));

    let cleared = on(&dir, "check", &["--clear-suspect"]);
    assert_eq!(cleared.status.code(), Some(0), "{cleared:?}");
    let end = "all of it was read from the disk: the store takes writes again";
    assert_eq!(lines(&cleared), [since, sums, left, end]);
    // The running server notices.
    peer.put("new", b"new", 3);
    assert_eq!(on(&dir, "check", &[]).status.code(), Some(0));
}

/// The command zserve check --clear-suspect fails with 8 while there is damage.
#[test]
fn zserve_check_clear_suspect_fails_beside_damage() {
    let (dir, server) = served();
    let file = dir.path().join("store").join(BAD);
    let opened = fs::OpenOptions::new().write(true).open(&file).unwrap();
    opened.write_all_at(b"x", 1500).unwrap();
    suspect(&dir);
    let output = on(&dir, "check", &["--clear-suspect", "--json"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let mut said = objects(&output);
    let sums = said.pop().unwrap();
    let suspicion = json!({
        "event": "suspect",
        "since": "2026-11-21T10:00:00Z",
        "operation": "sync a record",
    });
    let damage = json!({
        "event": "damage",
        "file": BAD,
        "key": "bad",
        "error": "slice 1 does not match its digest",
        "quarantined": ASIDE,
    });
    assert_eq!(said, [suspicion.clone(), damage]);
    let expected = [
        ("event", json!("check_summary")),
        ("current", json!(1)),
        ("bytes", json!(100_000)),
        ("damaged", json!(1)),
        ("from_disk", json!(true)),
        ("suspect", json!(true)),
        ("cleared", json!(false)),
        ("stopped", json!(false)),
    ];
    for (field, value) in expected {
        assert_eq!(sums[field], value, "{field}");
    }
    let mut peer = zserve::plain(&server);
    assert_eq!(code(&peer.ask(&begin("new", Kind::Plain)).unwrap()), Some(ErrorCode::Suspect));

    let said = lines(&on(&dir, "check", &[]));
    assert!(said[2].ends_with("1 files in quarantine"), "{said:?}");
    let output = on(&dir, "check", &["--clear-suspect", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = objects(&output);
    assert_eq!((said.len(), &said[0]), (2, &suspicion));
    for (field, value) in
        [("damaged", json!(0)), ("suspect", json!(false)), ("cleared", json!(true))]
    {
        assert_eq!(said[1][field], value, "{field}");
    }
    peer.put("new", b"new", 3);
}

/// At 100 B/s the store would take 17 minutes.
#[test]
fn zserve_scrub_ends_with_143_on_sigterm() {
    let (dir, _server) = served();
    let store = dir.path().join("store");
    let mut command = std::process::Command::new(zserve::ZSERVE);
    command.args(["scrub", "--rate", "100", "--store"]).arg(&store);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    // Not before it catches SIGTERM (proc(5): a bit for each signal; SIGTERM is 15). That it is
    // blocked would say nothing: it is while a thread begins.
    until("it catches SIGTERM", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0
    });
    // Again until it ends: the first may come between the handler and what the handler does.
    until("it has ended", || {
        let child_id = rustix::process::Pid::from_child(&child);
        let ended = child.try_wait().unwrap().is_some();
        if !ended {
            rustix::process::kill_process(child_id, Signal::TERM).unwrap();
        }
        ended
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    assert!(lines(&output)[0].ends_with("; stopped; the next run continues here"), "{output:?}");
    assert!(store.join("scrub.toml").exists());
}

/// On a missing store zserve scrub and check fail and make nothing.
#[test]
fn zserve_scrub_and_check_make_no_store() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["scrub", "check"] {
        let output = on(&dir, command, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("no store is there"), "{said}");
    }
    assert!(!dir.path().join("store").exists());
    assert_eq!(on(&dir, "scrub", &["--fraction", "half"]).status.code(), Some(2));
    assert_eq!(on(&dir, "scrub", &["--rate", "0"]).status.code(), Some(2));
}
