//! What is put comes back byte for byte, whatever its length, its cipher, where it came from, where
//! it goes and where it was kept meanwhile.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Command, Stdio},
    time::{Duration, UNIX_EPOCH},
};

use zput_tests::{Machine, Pattern, Ran, ServerProcess};

const MIB: u64 = 1024 * 1024;

/// Around the borders of a chunk (16 KiB) and of a part (16 MiB), and nothing at all.
const LENGTHS: [u64; 8] = [0, 1, 16_383, 16_384, 16_385, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1];

/// A machine, and the server it uses; without one its store is embedded.
struct Setting {
    home: Machine,
    _server: Option<ServerProcess>,
}

impl Setting {
    fn embedded() -> Self {
        Self { home: Machine::new(), _server: None }
    }

    fn over_tls() -> Self {
        let home = Machine::new();
        let server = ServerProcess::start(&home.path().join("store"), &[]);
        server.admit(&home);
        Self { home, _server: Some(server) }
    }
}

/// Puts `length` bytes from each kind of source, and gets them to each kind of output.
fn round_trip(setting: &Setting, suite: &str, length: u64) {
    let home = &setting.home;
    let bytes = Pattern::bytes(length, length);
    let source = format!("plain-{length}");
    home.write(&source, &bytes);
    // An empty file was meant; what a pipe does not give may be missing.
    let put = ["--allow-empty", "--suite", suite, "--name"];
    for origin in ["file", "stdin", "exec"] {
        let what = format!("{length} bytes from {origin} by {suite}");
        let name = format!("{suite}/{origin}/{length}");
        let put: Vec<&str> = put.into_iter().chain([name.as_str()]).collect();
        let _stored = match origin {
            "file" => home.run("zput", [&put[..], &[source.as_str()]].concat()),
            "stdin" => home.run_with("zput", [&put[..], &["-"]].concat(), &bytes),
            _ => home.run("zput", [&put[..], &["--exec", "--", "cat", source.as_str()]].concat()),
        }
        .ok();
        let to_stdout = home.run("zget", ["-o", "-", name.as_str()]).ok();
        assert!(to_stdout.stdout == bytes, "{what}, to stdout: {} bytes", to_stdout.stdout.len());
        let to_file = home.run("zget", ["-o", "got", name.as_str()]).ok();
        assert_eq!(to_file.text(), "", "{what}");
        assert!(home.read("got") == bytes, "{what}, to a file");
        fs::remove_file(home.file("got")).unwrap();
    }
}

fn round_trips(setting: &Setting, suite: &str) {
    for length in LENGTHS {
        round_trip(setting, suite, length);
    }
    let left: Vec<_> = fs::read_dir(setting.home.file("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("plain-"))
        .collect();
    assert_eq!(left, [""; 0], "nothing stays behind");
}

/// Blobs of lengths around chunk and part borders come back from an embedded store, by AES.
#[test]
fn roundtrip_by_embedded_store_and_aes_returns_every_length() {
    round_trips(&Setting::embedded(), "aes");
}

/// Blobs of lengths around borders come back from an embedded store, by ChaCha.
#[test]
fn roundtrip_by_embedded_store_and_chacha_returns_every_length() {
    round_trips(&Setting::embedded(), "chacha");
}

/// Blobs of lengths around chunk and part borders come back over TLS, by AES.
#[test]
fn roundtrip_by_tls_and_aes_returns_every_length() {
    round_trips(&Setting::over_tls(), "aes");
}

/// Blobs of lengths around chunk and part borders come back over TLS, by ChaCha.
#[test]
fn roundtrip_by_tls_and_chacha_returns_every_length() {
    round_trips(&Setting::over_tls(), "chacha");
}

/// A file comes back with its mode and its time in ns, and without setuid.
#[test]
fn roundtrip_keeps_mode_and_mtime_and_drops_setuid() {
    let Setting { home, _server } = Setting::over_tls();
    home.write("tool", b"#!/bin/sh\n");
    let file = File::options().write(true).open(home.file("tool")).unwrap();
    file.set_permissions(Permissions::from_mode(0o4751)).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    file.set_modified(time).unwrap();
    let _stored = home.run("zput", ["tool"]).ok();
    let _got = home.run("zget", ["-o", "again", "tool"]).ok();
    let got = fs::metadata(home.file("again")).unwrap();
    assert_eq!(got.mode() & 0o7777, 0o751);
    assert_eq!((got.mtime(), got.mtime_nsec()), (1_000_000_000, 123_456_789));
}

/// Several files are put and got in one command; a missing one gives exit 3.
#[test]
fn zput_and_zget_take_several_files_in_one_command() {
    let Setting { home, _server } = Setting::over_tls();
    let names = ["a", "b", "c"];
    for name in names {
        home.write(name, name.repeat(20_000).as_bytes());
    }
    let _stored = home.run("zput", ["--prefix", "many", "a", "b", "c"]).ok();
    fs::create_dir(home.file("out")).unwrap();
    let _got = home.run("zget", ["-o", "out/", "many/a", "many/b", "many/c"]).ok();
    for name in names {
        assert_eq!(home.read(&format!("out/{name}")), name.repeat(20_000).as_bytes());
    }
    // One is missing: the others come, and the exit code says so.
    let ran = home.run("zget", ["--force", "-o", "out/", "many/a", "many/x", "many/c"]).ended(3);
    assert!(ran.stderr.contains("zget: many/x: not found"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("zget: 1 of 3 failed\n"), "{}", ran.stderr);
}

/// A put from a pipe and a get into a pipe transfer each byte.
#[test]
fn zput_of_stdin_and_zget_to_stdout_lose_nothing() {
    let Setting { home, _server } = Setting::over_tls();
    let bytes = Pattern::bytes(5, 20_000_000);
    let _stored = home.run_with("zput", ["--name", "pipe", "-"], &bytes).ok();
    let mut get =
        home.command("zget").args(["-o", "-", "pipe"]).stdout(Stdio::piped()).spawn().unwrap();
    let sum = Command::new("wc").arg("-c").stdin(get.stdout.take().unwrap()).output().unwrap();
    assert_eq!(get.wait().unwrap().code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&sum.stdout).trim(), "20000000");
}

/// A blob of three parts, the last of 5 bytes.
const RANGED_LENGTH: u64 = 33_554_437;

fn range(home: &Machine, range: &str) -> Ran {
    home.run("zget", ["-o", "-", "--range", range, "ranged"])
}

/// A range may begin and end at any byte; one that begins behind the blob is an error.
#[test]
fn zget_range_begins_and_ends_anywhere() {
    let Setting { home, _server } = Setting::over_tls();
    let bytes = Pattern::bytes(9, RANGED_LENGTH);
    home.write("ranged", &bytes);
    let _stored = home.run("zput", ["ranged"]).ok();

    for (first, last) in [
        (0, 0),
        (0, 1023),
        // Around the border of a chunk.
        (16_383, 16_383),
        (16_383, 16_384),
        (16_384, 16_384),
        (16_384, 32_767),
        (16_384, 32_768),
        // Around the border of a part.
        (16_777_215, 16_777_215),
        (16_777_215, 16_777_216),
        (16_777_216, 16_777_216),
        (16_777_217, 33_554_431),
        (16_777_216, 33_554_432),
        (16_777_215, 33_554_436),
        // All of it but one byte, and the end.
        (1, 33_554_436),
        (33_554_431, 33_554_432),
        (33_554_432, 33_554_436),
        (33_554_436, 33_554_436),
    ] {
        let ran = range(&home, &format!("{first}-{last}")).ok();
        let expected = &bytes[first as usize..=last as usize];
        assert!(ran.stdout == expected, "{first}-{last}: {} bytes came", ran.stdout.len());
    }
    for start in [0, 1, 16_384, 16_777_216, 33_554_432, 33_554_436, 33_554_437] {
        let ran = range(&home, &format!("{start}-")).ok();
        assert!(ran.stdout == bytes[start as usize..], "{start}-: {} bytes", ran.stdout.len());
    }

    // An end behind the end is the end; a start there is a mistake.
    let ran = range(&home, "0-33554437").ok();
    assert!(ran.stdout == bytes, "{} bytes came", ran.stdout.len());
    assert_eq!(range(&home, "33554437-33554437").ok().stdout, b"");
    for first in ["33554438", "18446744073709551614"] {
        for asked in [format!("{first}-"), format!("{first}-18446744073709551614")] {
            let ran = range(&home, &asked).ended(2);
            let said = format!(
                "zget: ranged: the range begins at byte {first}, counted from 0, and the blob has \
                 33554437 bytes\n"
            );
            assert_eq!(ran.stderr, said);
            assert_eq!(ran.stdout, b"");
        }
    }

    // A stretch of a file goes to a file as well, and is not dressed up as the whole.
    let _got = home.run("zget", ["-o", "stretch", "--range", "16777210-16777220", "ranged"]).ok();
    assert_eq!(home.read("stretch"), &bytes[16_777_210..=16_777_220]);
}

/// An empty blob has the empty range at 0 only.
#[test]
fn zget_range_of_empty_blob_is_empty() {
    let Setting { home, _server } = Setting::embedded();
    home.write("ranged", b"");
    let _stored = home.run("zput", ["ranged"]).ok();
    assert_eq!(range(&home, "0-").ok().stdout, b"");
    assert_eq!(range(&home, "0-0").ok().stdout, b"");
    let ran = range(&home, "1-").ended(2);
    let said =
        "zget: ranged: the range begins at byte 1, counted from 0, and the blob has 0 bytes\n";
    assert_eq!(ran.stderr, said);
}

/// The versions of `name`, newest first, each with its state.
fn versions(home: &Machine, name: &str) -> Vec<(String, String)> {
    let lines = home.run("zblob stat", ["--versions", "--json", name]).ok().text();
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |field: &str| line[field].as_str().unwrap().to_owned();
        (field("version"), field("state"))
    };
    lines.lines().map(line).collect()
}

/// Each version, current, in history or in trash, is got by its number with --at.
#[test]
fn zget_at_returns_each_version_by_its_number() {
    for Setting { home, _server } in [Setting::embedded(), Setting::over_tls()] {
        let contents = [Pattern::bytes(1, 10), Pattern::bytes(2, 17_000_000), Pattern::bytes(3, 0)];
        for content in &contents {
            let _stored =
                home.run_with("zput", ["--allow-empty", "--name", "v", "-"], content).ok();
        }
        let numbers = versions(&home, "v");
        let states: Vec<_> = numbers.iter().map(|(_, state)| state.as_str()).collect();
        assert_eq!(states, ["current", "history", "history"]);
        for ((number, _), content) in numbers.iter().rev().zip(&contents) {
            let got = home.run("zget", ["-o", "-", "--at", number, "v"]).ok();
            assert!(got.stdout == *content, "version {number}");
            let range = ["-o", "-", "--at", number, "--range", "0-", "v"];
            assert!(home.run("zget", range).ok().stdout == *content, "a range of {number}");
        }
        assert_eq!(home.run("zget", ["-o", "-", "v"]).ok().stdout, contents[2]);

        let ran = home.run("zget", ["-o", "-", "--at", "12345", "v"]).ended(4);
        assert_eq!(ran.stdout, b"");

        // In the trash all of them can still be had by their numbers, and one comes back.
        let _removed = home.run("zblob rm", ["v"]).ok();
        let _gone = home.run("zget", ["-o", "-", "v"]).ended(4);
        let (second, _) = &numbers[1];
        assert!(home.run("zget", ["-o", "-", "--at", second, "v"]).ok().stdout == contents[1]);
        assert_eq!(versions(&home, "v")[0].1, "trash");
        let _restored = home.run("zblob restore", ["v", numbers[0].0.as_str()]).ok();
        assert_eq!(home.run("zget", ["-o", "-", "v"]).ok().stdout, contents[2]);
    }
}
