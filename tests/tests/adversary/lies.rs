//! A server that lies about what it has, talks without end, or talks to the terminal.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use zput_proto::{
    message::{
        Entry, Info, Kind, RemoteError, Request, Response, Version, VersionInfo, VersionState,
    },
    name::{BlobName, ObjectKey},
};
use zput_seal::keys::ModePolicy;
use zput_tests::{
    Ran,
    hostile::{Answer, Forgery, Payload, RawServer, Stored, forge::metadata},
    measure::memory_bytes,
};

use crate::victim::{NAME, Victim, is_for_terminals, lead};

const SMALL: &[u8] = b"the quick brown fox jumps over the lazy dog";

/// Runs a command of the victim's; it has this long before it counts as caught in a loop.
fn run_for(victim: &Victim, command: &str, args: &[&str], limit: Duration) -> Ran {
    let mut run: Command = victim.home.command(command);
    run.arg("--key").arg(victim.home.path().join("victim.zkey")).args(args);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > limit {
            child.kill().unwrap();
            panic!("{command} {args:?} is caught in a loop");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap().into()
}

/// A get refuses an object whose announced lengths are false, and writes no byte of it.
#[test]
fn get_refuses_false_lengths_from_server() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = Stored::new(1, victim.honest(SMALL).seal());
    let Info { length, header_length, footer_length, .. } = honest.info;
    let info = |length, header_length, footer_length| Info {
        length,
        header_length,
        footer_length,
        ..honest.info
    };
    let lies = [
        ("a header of 4 GiB", info(length, u32::MAX, footer_length)),
        ("a header of 4 GiB in a long blob", info(u64::MAX, u32::MAX, footer_length)),
        ("a footer of 4 GiB", info(length, header_length, u32::MAX)),
        ("both, in a long blob", info(u64::MAX, u32::MAX, u32::MAX)),
        ("a header of 64 KiB and a byte", info(u64::MAX, 65_537, footer_length)),
        ("no header", info(length, 0, footer_length)),
        ("no footer", info(length, header_length, 0)),
        ("nothing at all", info(0, 0, 0)),
        ("a blob without end", info(u64::MAX, header_length, footer_length)),
        ("a blob of 4 TiB", info(1 << 42, header_length, footer_length)),
        ("a byte more", info(length + 1, header_length, footer_length)),
        ("a byte less", info(length - 1, header_length, footer_length)),
        ("a byte more of header", info(length, header_length + 1, footer_length)),
        ("a byte less of header", info(length, header_length - 1, footer_length)),
        ("a byte more of footer", info(length, header_length, footer_length + 1)),
        ("a byte less of footer", info(length, header_length, footer_length - 1)),
    ];
    victim.serve_stored(honest.clone());
    for (what, info) in lies {
        // With the payload that is there, with the one that is said to be there, and without end.
        for endless in [false, true] {
            for announced in [None, Some(info.length)] {
                victim.server.lie(move |_, answer| {
                    let Response::Object { header, payload, .. } = answer.response else {
                        return answer;
                    };
                    let payload = announced.unwrap_or(payload);
                    let response = Response::Object { info, header, payload };
                    if endless {
                        Answer { response, payload: Payload::Endless(0x8a), ..answer }
                    } else {
                        Answer { response, ..answer }
                    }
                });
                let (exit, sink) = victim.exit();
                // A payload that is shorter than announced ends the connection.
                let is_cut = !endless && announced.is_some_and(|n| n > length);
                assert!(exit == 8 || (is_cut && exit == 5), "{what}: {exit}, endless: {endless}");
                assert!(sink.is_empty(), "{what}");
            }
        }
    }
    victim.server.repent();
    victim.accepts(SMALL);
}

/// As much as is announced is taken, and no more is believed.
#[test]
fn get_refuses_payload_length_that_was_not_requested() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.serve(victim.honest(SMALL).seal());
    for change in [i64::MIN, -1000, -1, 1, 1000, i64::MAX] {
        victim.server.lie(move |_, answer| {
            let Response::Object { info, header, payload } = answer.response else { return answer };
            let payload = payload.saturating_add_signed(change);
            Answer { response: Response::Object { info, header, payload }, ..answer }
        });
        victim.refuses(8, b"");
    }
    // Bytes behind the payload: they are no record of TLS.
    victim.server.lie(|request, answer| {
        let mut bytes = answer.bytes().to_vec();
        if matches!(request, Request::Get { .. }) {
            bytes.extend_from_slice(&[0x17; 100]);
        }
        Answer { payload: Payload::Bytes(bytes), ..answer }
    });
    // The blob itself was whole, and nothing more was asked for.
    victim.accepts(SMALL);
}

/// The memory of zget stays below 64 MiB while a server sends endless payload.
#[test]
fn zget_memory_is_bounded_whatever_server_announces() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = Stored::new(1, victim.honest(SMALL).seal());
    victim.serve_stored(honest.clone());
    for (header_length, footer_length) in [(u32::MAX, u32::MAX), (65_536, 8_389_815)] {
        victim.server.lie(move |_, answer| {
            let Response::Object { info, header, .. } = answer.response else { return answer };
            let info = Info { length: u64::MAX, header_length, footer_length, ..info };
            let response = Response::Object { info, header, payload: u64::MAX };
            Answer { response, payload: Payload::Endless(0x8a), ..answer }
        });
        let mut zget = victim.home.command("zget");
        zget.arg("--key").arg(victim.home.path().join("victim.zkey")).args(["-o", "-", NAME]);
        zget.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = zget.spawn().unwrap();
        // Not getrusage(2), which counts what this process had when it made the child.
        let mut peaks = Vec::new();
        while child.try_wait().unwrap().is_none() {
            // One that has just ended has no memory.
            peaks.extend(memory_bytes(child.id(), "VmHWM").ok());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(child.wait().unwrap().code(), Some(8));
        let peak = *peaks.last().unwrap();
        assert!(peak < 64 * 1024 * 1024, "{peak} bytes");
    }
}

/// Each verb of zblob ends with exit code 8 on an answer to another request.
#[test]
fn zblob_refuses_answer_to_another_request() {
    let victim = Victim::new(ModePolicy::Tls);
    let stored = Stored::new(1, victim.honest(SMALL).seal());
    let info = stored.info;
    victim.serve_stored(stored);
    let version = Version(1);
    let answers = [
        Response::Pong,
        Response::Stat { info },
        Response::Page { entries: Vec::new(), next: None, unreadable: 0 },
        Response::Versions { versions: Vec::new(), next: None, unreadable: 0 },
        Response::Begun,
        Response::SliceHeld,
        Response::Committed { version },
        Response::Aborted,
        Response::Deleted { version },
        Response::Object { info, header: None, payload: 0 },
        Response::Object { info, header: Some(vec![0x8a; 65_536]), payload: 0 },
    ];
    victim.home.write("file", SMALL);
    for answer in answers {
        let name = format!("{answer:?}");
        let said = answer.clone();
        victim.server.lie(move |_, _| said.clone().into());
        victim.refuses(8, b"");
        for (command, args) in [
            ("zblob ls", &[][..]),
            ("zblob stat", &[NAME]),
            ("zblob stat", &["--versions", NAME]),
            ("zblob rm", &[NAME]),
            ("zblob restore", &[NAME, "1"]),
            ("zput", &["file"]),
        ] {
            let fits = match (command, &answer) {
                ("zblob ls", Response::Page { .. }) | ("zblob rm", Response::Deleted { .. }) => {
                    true
                }
                ("zblob stat", Response::Versions { .. }) => args.len() == 2,
                _ => false,
            };
            if !fits {
                let ran = run_for(&victim, command, args, Duration::from_secs(20));
                assert_eq!(ran.code, Some(8), "{command} {args:?}, {name}: {}", ran.stderr);
            }
        }
    }
}

/// The cursors are the server's: it can lead a client round and round.
#[test]
fn zblob_ls_and_stat_abandon_listing_without_end() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.serve(victim.honest(SMALL).seal());
    // Backwards is what no server does; on and on is what a very large one does.
    let cursors: [fn(u64) -> Vec<u8>; 3] =
        [|_| vec![7], |n| vec![(n % 2) as u8], |n| n.to_be_bytes().to_vec()];
    for (i, (cursor, code)) in cursors.into_iter().zip([8, 8, 1]).enumerate() {
        for empty in [false, true] {
            let mut page = 0;
            victim.server.lie(move |_, answer| match answer.response {
                Response::Page { mut entries, unreadable, .. } => {
                    page += 1;
                    if empty {
                        entries.clear();
                    }
                    Response::Page { entries, next: Some(cursor(page)), unreadable }.into()
                }
                _ => answer,
            });
            let ran = run_for(&victim, "zblob ls", &[], Duration::from_secs(20)).ended(code);
            assert!(ran.stdout.is_empty(), "cursor {i}");
        }
    }
    // Versions go down, and can do so for ever; or round and round.
    let downs: [fn(u64) -> u64; 3] = [|n| u64::MAX - n, |_| 7, |n| 8 + n % 2];
    for (i, (down, code)) in downs.into_iter().zip([1, 8, 8]).enumerate() {
        let mut page = 0;
        victim.server.lie(move |_, answer| match answer.response {
            Response::Versions { .. } => {
                page += 1;
                let (versions, next) = (Vec::new(), Some(Version(down(page))));
                Response::Versions { versions, next, unreadable: 0 }.into()
            }
            _ => answer,
        });
        let args = ["--versions", NAME];
        let ran = run_for(&victim, "zblob stat", &args, Duration::from_secs(20)).ended(code);
        assert!(ran.stdout.is_empty(), "versions {i}");
    }
    // A server may hold much, and say so in pages that overlap.
    victim.server.repent();
    let ran = victim.run("zblob ls", &[]).ok();
    assert_eq!(ran.text(), format!("{NAME}\n"));
}

/// Page after page, each with the longest cursor that there is.
#[test]
fn zblob_ls_reads_every_page_of_large_listing() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.serve(victim.honest(SMALL).seal());
    let stored = victim.server.shelf().get(&victim.key).unwrap().clone();
    victim.server.lie(move |request, answer| {
        let Request::List { after, limit, .. } = request else { return answer };
        assert_eq!(*limit, 1000);
        let first = after.as_ref().map_or(0, |cursor| {
            assert_eq!(cursor.len(), 1024);
            u64::from_be_bytes(*cursor.first_chunk().unwrap())
        });
        let info = Info { kind: Kind::Plain, header_length: 0, footer_length: 0, ..stored.info };
        let entries = (first..first + 1000).map(|n| {
            let key = ObjectKey::new(format!("usr/share/things/{n:09}")).unwrap();
            Entry { key, info, header: None }
        });
        let next = (first + 1000 < 200_000).then(|| {
            let mut cursor = (first + 1000).to_be_bytes().to_vec();
            cursor.resize(1024, b'x');
            cursor
        });
        Response::Page { entries: entries.collect(), next, unreadable: 0 }.into()
    });
    let ran = run_for(&victim, "zblob ls", &[], Duration::from_secs(20)).ended(0);
    assert!(ran.stderr.contains("200000 more are not sealed"), "{}", ran.stderr);
}

/// Entries of a listing that the vault did not name are refused, and the others are shown.
#[test]
fn zblob_ls_shows_only_names_of_the_vault() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = victim.honest(SMALL);
    victim.serve(honest.seal());
    let other_key = ObjectKey::new("0".repeat(64)).unwrap();
    let named = |name: &[u8], key: &ObjectKey| {
        let metadata = metadata(name, i64::MAX, 999_999_999, u32::MAX);
        Forgery { metadata, object_key: key.as_bytes().to_vec(), ..honest.clone() }.pieces().header
    };
    let stored = victim.server.shelf().get(&victim.key).unwrap().clone();
    // Lengths that add up, so that it is the rest which is refused.
    let entry = |key: &ObjectKey, header: Option<Vec<u8>>| {
        let header_length = header.as_ref().map_or(0, Vec::len) as u32;
        let around = u64::from(stored.info.header_length);
        let length = stored.info.length - around + u64::from(header_length);
        let info = Info { length, header_length, ..stored.info };
        Entry { key: key.clone(), info, header }
    };
    let lengths = Info {
        version: Version(u64::MAX),
        length: u64::MAX,
        header_length: u32::MAX,
        footer_length: u32::MAX,
        ..stored.info
    };
    let hostile = [
        // A member's blob of another name, here under a key that is not its own.
        entry(&other_key, Some(named(NAME.as_bytes(), &victim.key))),
        entry(&other_key, Some(named(NAME.as_bytes(), &other_key))),
        entry(&other_key, None),
        entry(&other_key, Some(Vec::new())),
        entry(&other_key, Some(vec![0x1b; 65_536])),
        entry(&other_key, Some(named(b"\x1b]0;pwned\x07", &other_key))),
        entry(&other_key, Some(named(b"../../escaped", &other_key))),
        entry(&other_key, Some(named(b"\xff\xfe", &other_key))),
        entry(&other_key, Some(named("a\u{202e}b\u{200f}".as_bytes(), &other_key))),
        entry(&ObjectKey::new("\x1b[2J\n").unwrap(), Some(vec![0x1b; 100])),
        entry(&ObjectKey::new(vec![0xff; 1024]).unwrap(), None),
        Entry { info: lengths, ..entry(&victim.key, Some(honest.pieces().header)) },
    ];
    for entry in hostile {
        let what = format!("{:?}", entry.key);
        let entry_key = entry.key.clone();
        victim.server.lie(move |_, answer| match answer.response {
            Response::Page { mut entries, next, unreadable } => {
                // The honest one does not make up for one of the same key.
                entries.retain(|honest| honest.key != entry.key);
                entries.push(entry.clone());
                Response::Page { entries, next, unreadable }.into()
            }
            _ => answer,
        });
        let shown = usize::from(entry_key != victim.key);
        for args in [&[][..], &["-l"], &["--json"]] {
            let ran = victim.run("zblob ls", args).ended(8);
            assert!(is_for_terminals(&ran.stderr), "{what}: {:?}", ran.stderr);
            assert!(is_for_terminals(&ran.text()), "{what}: {:?}", ran.text());
            // With --json a line says what went wrong (docs/JSON.md).
            let text = ran.text();
            let (errors, listed): (Vec<_>, Vec<_>) = text
                .lines()
                .partition(|line| line.starts_with("{\"error\":{\"code\":\"integrity\","));
            assert_eq!(errors.len(), usize::from(args == ["--json"]), "{what}: {text}");
            assert_eq!(listed.len(), shown, "{what}: {text}");
            assert!(shown == 0 || ran.text().contains(NAME), "{what}: {}", ran.text());
        }
    }
    // A name that is one, and that a terminal would still act upon: a program that reads it gets it
    // as it is.
    let name = "a\u{202e}b";
    let key = victim.member.object_key(&BlobName::parse(name).unwrap());
    let blob = Forgery::honest(&victim.member, &key, name, SMALL).seal();
    victim.server.repent();
    victim.server.shelf().replace(&key, Stored::new(1, blob));
    for args in [&[][..], &["-l"]] {
        let ran = victim.run("zblob ls", args).ok();
        let text = ran.text();
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text:?}") };
        assert!(first.ends_with(name) && second.ends_with(NAME), "{text:?}");
    }
    victim.server.shelf().remove(&key);
    // The same object twice is listed once.
    victim.server.lie(|_, answer| match answer.response {
        Response::Page { entries, next, unreadable } => {
            let entries = [entries.clone(), entries].concat();
            Response::Page { entries, next, unreadable }.into()
        }
        _ => answer,
    });
    assert_eq!(victim.run("zblob ls", &[]).ok().text(), format!("{NAME}\n"));
    // Sizes, times and states that no server has are shown as they are.
    victim.server.lie(|_, answer| match answer.response {
        Response::Versions { .. } => {
            let state = VersionState::Trash;
            let version = Version(u64::MAX);
            let version = VersionInfo { version, kind: Kind::Plain, length: u64::MAX, state };
            Response::Versions { versions: vec![version; 1000], next: None, unreadable: 0 }.into()
        }
        _ => answer,
    });
    let ran = victim.run("zblob stat", &["--versions", NAME]);
    assert!(matches!(ran.code, Some(0 | 8)), "{:?}: {}", ran.code, ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

/// Control characters in a server's errors and hello do not reach stderr.
#[test]
fn error_text_from_server_is_made_safe_for_terminal() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.serve(victim.honest(SMALL).seal());
    victim.home.write("file", SMALL);
    let texts = ["\x1b]0;pwned\x07\x1b[2J", "a\r\nzget: all is well", "\u{202e}dne\u{9b}31m\0"];
    for code in 0..=15_u8 {
        let text = texts[usize::from(code) % texts.len()].to_owned();
        let error = RemoteError { code, text, number: 0 };
        victim.server.lie(move |_, _| Response::Error(error.clone()).into());
        for (command, args) in [("zget", &[NAME][..]), ("zblob ls", &[]), ("zput", &["file"])] {
            let ran = victim.run(command, args);
            assert_ne!(ran.code, Some(0), "{command}, code {code}");
            assert!(is_for_terminals(&ran.stderr), "{command}, code {code}: {:?}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{command}: {:?}", ran.stderr);
            assert!(ran.stdout.is_empty());
        }
    }
    // And in its hello, before it is authenticated.
    for text in texts {
        for code in [3_u8, 6, 99] {
            let mut hello = b"zput/s1\n".to_vec();
            let length = u16::try_from(26 + text.len()).unwrap();
            hello.extend_from_slice(&length.to_be_bytes());
            hello.push(code);
            hello.extend_from_slice(&[0; 24]);
            hello.push(u8::try_from(text.len()).unwrap());
            hello.extend_from_slice(text.as_bytes());
            let raw = RawServer::saying(hello);
            let mut member = victim.member.clone();
            lead(&mut member, ModePolicy::Tls, raw.remote(), victim.server.key());
            victim.install(&member);
            // Nobody has shown a key: only "busy" is believed.
            victim.refuses(if code == 6 { 5 } else { 1 }, b"");
        }
    }
}
