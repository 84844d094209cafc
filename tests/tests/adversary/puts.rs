//! What a put tells a server, what a server can make of it, and what it can say to it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use zput_proto::{
    keys::{Invite, InviteSecret},
    message::{Condition, ErrorCode, Kind, RemoteError, Request, Response, Scopes, Version},
    name::BlobName,
};
use zput_seal::{
    blob::header::Header,
    keys::{KeyFile, ModePolicy, ParsedKeyFile, Role},
};
use zput_tests::{
    Machine, Ran,
    hostile::{Answer, Forgery},
};

use crate::{
    guarded::Guarded,
    victim::{NAME, Victim, member},
};

const SECRET: &[u8] = b"a secret that is long enough to be looked for, in any place at all";

/// What kind of request an answer is a lie to.
fn step(request: &Request) -> &'static str {
    match request {
        Request::Begin { .. } => "begin",
        Request::Slice { .. } => "slice",
        Request::Commit => "commit",
        _ => "else",
    }
}

/// Files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Whether this machine has noted that it saw a blob: behind the record's head of 128 bytes there
/// is a row.
fn has_seen(victim: &Victim) -> bool {
    files(&victim.home.path().join(".local/state/zput/seen"))
        .iter()
        .any(|path| path.ends_with("record") && fs::metadata(path).unwrap().len() > 128)
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// A put fails on a wrong or early answer and is not recorded as done.
#[test]
fn zput_refuses_wrong_or_early_acknowledgement() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.home.write("file", SECRET);
    let zput = || victim.run("zput", &["--name", NAME, "file"]);
    let version = Version(7);
    let answers = [
        Response::Begun,
        Response::SliceHeld,
        Response::Committed { version },
        Response::Aborted,
        Response::Deleted { version },
        Response::Pong,
    ];
    // The right answer at the wrong time: "committed" to the first slice, or to the begin.
    for at in ["begin", "slice", "commit"] {
        for answer in &answers {
            let is_right = matches!(
                (at, answer),
                ("begin", Response::Begun)
                    | ("slice", Response::SliceHeld)
                    | ("commit", Response::Committed { .. })
            );
            if is_right {
                continue;
            }
            let said = answer.clone();
            victim.server.lie(
                move |request, answer| {
                    if step(request) == at { said.clone().into() } else { answer }
                },
            );
            let ran = zput().ended(8);
            assert!(ran.stdout.is_empty());
            assert!(!has_seen(&victim), "{answer:?} to {at} was believed");
        }
        // A refusal is a refusal, whenever it comes.
        for (code, exit) in [
            (ErrorCode::Denied, 6),
            (ErrorCode::Exists, 10),
            (ErrorCode::Full, 9),
            (ErrorCode::Busy, 5),
            (ErrorCode::Digest, 8),
            (ErrorCode::Malformed, 1),
        ] {
            victim.server.lie(move |request, answer| {
                if step(request) == at {
                    Response::Error(RemoteError::new(code, "no")).into()
                } else {
                    answer
                }
            });
            let _refused = zput().ended(exit);
            assert!(!has_seen(&victim), "{code:?} to {at}");
        }
        // And so is the end.
        victim.server.lie(move |request, answer| Answer {
            hang_up: step(request) == at && at != "commit",
            ..answer
        });
        if at != "commit" {
            let _cut = zput().ended(5);
            assert!(!has_seen(&victim), "cut at {at}");
        }
    }
    victim.server.repent();
    let _done = zput().ok();
    assert!(has_seen(&victim));
    victim.accepts(SECRET);
}

/// An acknowledgement is a server's word. What it then gives back is not what was put: that shows.
#[test]
fn rollback_guard_detects_server_that_drops_a_put() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.home.write("old", b"the old one");
    victim.home.write("new", b"the new one");
    let _put = victim.run("zput", &["--name", NAME, "old"]).ok();
    let old = victim.server.shelf().get(&victim.key).unwrap().clone();
    let _put = victim.run("zput", &["--name", NAME, "new"]).ok();
    victim.accepts(b"the new one");
    // It forgets the new one: the machine that put it knows better, without ever having got it.
    victim.server.shelf().replace(&victim.key, old);
    let said = victim.refuses(8, b"");
    assert!(said.contains("generation"), "{said}");
    // What it claims to have restored is not what is there.
    victim.server.lie(|request, answer| match request {
        Request::Restore { .. } => Response::Committed { version: Version(9) }.into(),
        _ => answer,
    });
    let forged = Forgery { voucher: None, ..victim.honest(b"forged") };
    victim.serve_next(forged.seal());
    let _refused = victim.run("zblob restore", &[NAME, "1"]).ended(8);
}

/// Requests carry the hashed object key and sealed blobs only.
#[test]
fn zblob_sends_only_hashed_names_and_sealed_content() {
    let victim = Victim::new(ModePolicy::Tls);
    let name = "plans/a-name-that-nobody-else-has";
    victim.home.write("file", SECRET);
    let _put = victim.run("zput", &["--name", name, "file"]).ok();
    let _got = victim.run("zget", &["-o", "-", name]).ok();
    let _listed = victim.run("zblob ls", &[]).ok();
    let _known = victim.run("zblob stat", &[name]).ok();
    let _removed = victim.run("zblob rm", &[name]).ok();
    let key = victim.member.object_key(&BlobName::parse(name).unwrap());
    assert_eq!(key.as_bytes().len(), 64);
    let asked = victim.server.asked();
    assert!(asked.len() > 7, "{asked:?}");
    for request in &asked {
        match request {
            Request::Begin { key: of, kind, condition, .. } => {
                assert_eq!((of, *kind, *condition), (&key, Kind::Sealed, Condition::Any));
            }
            Request::Get { key: of, kind, .. } => assert_eq!((of, *kind), (&key, Kind::Sealed)),
            Request::Stat { key: of, .. } | Request::Delete { key: of, .. } => assert_eq!(of, &key),
            Request::Slice { .. } | Request::Commit | Request::List { .. } => {}
            other => panic!("{other:?} was not to be asked"),
        }
    }
    // The blob is sealed to the key file's recipients and to no others.
    let _put = victim.run("zput", &["--name", name, "file"]).ok();
    let blob = victim.server.shelf().get(&key).unwrap().clone();
    let header = &blob.bytes[..blob.info.header_length as usize];
    let header = Header::parse(header).unwrap();
    assert_eq!(header.stanzas().len(), victim.member.recipients.len());
    assert!(!holds(&blob.bytes, &SECRET[..12]));
    assert!(!holds(&blob.bytes, b"a-name-that"));
}

/// SECURITY: "both come from the local key file only".
#[test]
fn key_file_is_not_changed_by_any_server() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.home.write("file", SECRET);
    let path = victim.home.path().join("victim.zkey");
    let before = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().mode());
    for (round, code) in [(0, 0), (1, 6)] {
        for (command, args) in [
            ("zput", &["--name", NAME, "file"][..]),
            ("zget", &["-o", "-", NAME]),
            ("zblob ls", &[]),
            ("zblob stat", &[NAME]),
            ("zblob rm", &[NAME]),
        ] {
            let ran = victim.run(command, args);
            assert_eq!(ran.code, Some(code), "{command} in round {round}: {}", ran.stderr);
        }
        let after = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().mode());
        assert!(before == after, "the key file was changed");
        if round == 0 {
            let text = "recipients = [\"age1\"]\nserver_key = \"\"";
            victim.server.lie(move |_, _| {
                Response::Error(RemoteError { code: 2, text: text.into(), number: 0 }).into()
            });
        }
    }
    // Nor by a command that writes the key file: one that the server fails changes nothing.
    assert_eq!(join(&victim, "another machine").code, Some(6));
    let after = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().mode());
    assert!(before == after, "the key file was changed by a join that failed");
    // A stanza that the server adds to a blob on its shelf is under no MAC.
    victim.server.repent();
    let mine = Forgery { file_key: [7; 16], ..victim.honest(SECRET) };
    let theirs = Forgery { recipients: member().recipients, ..mine.clone() };
    let pieces = mine.pieces();
    let both = [mine.stanzas(), theirs.stanzas()].concat();
    let stuffed = Forgery { file_key: [8; 16], stanzas: Some(both), ..mine.clone() };
    victim.serve(stuffed.for_others(&pieces).join());
    let said = victim.refuses(8, b"");
    assert!(said.contains("the header is not the one that was sealed"), "{said}");
    victim.serve(pieces.join());
    victim.accepts(SECRET);
}

/// Redeems an invite of the hostile server, forced, since the key file is for that server already.
fn join(victim: &Victim, label: &str) -> Ran {
    let invite = Invite {
        address: victim.server.remote(),
        server_key: victim.server.key(),
        secret: InviteSecret::from_bytes([7; 32]),
    };
    victim.home.write("invite", invite.to_text().as_bytes());
    let key = victim.home.path().join("victim.zkey");
    let join = ["join", "--force", "--invite-file", "invite", "--label", label, "--key"];
    victim.home.run("zblob key", join.iter().map(OsStr::new).chain([key.as_os_str()]))
}

/// SECURITY: "both come from the local key file only". A join writes that file: what it takes on is
/// the invite's, and nothing is the answer's.
#[test]
fn zblob_key_join_changes_only_what_invite_says() {
    let victim = Victim::new(ModePolicy::Tls);
    let path = victim.home.path().join("victim.zkey");
    let before = fs::read_to_string(&path).unwrap();
    // The same key file, but for where it leads to.
    let elsewhere = before.replace(&victim.server.remote().to_string(), "zput://127.0.0.1:9");
    assert_ne!(before, elsewhere);
    fs::write(&path, &elsewhere).unwrap();
    for scopes in [Scopes::NONE, Scopes::GET, Scopes::ALL] {
        victim.server.lie(move |request, answer| match request {
            Request::Join { .. } => Response::Joined { scopes }.into(),
            _ => answer,
        });
        let joined = join(&victim, "the victim").ok();
        assert!(joined.stderr.contains("joined "), "{}", joined.stderr);
        assert_eq!(fs::read_to_string(&path).unwrap(), before, "{scopes}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
    // Any other answer is no account, and the file stays.
    fs::write(&path, &elsewhere).unwrap();
    for answer in [Response::Pong, Response::Mounted, Response::Committed { version: Version(7) }] {
        victim.server.lie(move |_, _| answer.clone().into());
        assert_eq!(join(&victim, "the victim").code, Some(8));
        assert_eq!(fs::read_to_string(&path).unwrap(), elsewhere);
    }
}

/// Everything that is on a server's disk, after two devices have joined and put, got and removed.
#[test]
fn store_on_disk_reveals_no_name_secret_or_plaintext() {
    let guarded = Guarded::new(&[]);
    let name = "plans/a-name-that-nobody-else-has";
    let mut needles: Vec<Vec<u8>> = vec![
        name.into(),
        b"a-name-that".to_vec(),
        b"AGE-SECRET-KEY".to_vec(),
        b"zputinvite".to_vec(),
    ];
    needles.extend(SECRET.chunks_exact(12).map(<[u8]>::to_vec));
    let spent = guarded.server.invite(&[]);
    let unspent = guarded.server.invite(&[]);
    let home = Machine::new();
    let _made = home.run("zblob key", ["new"]).ok();
    let _joined = home.run_with("zblob key", ["join"], spent.as_bytes()).ok();
    home.write("file", SECRET);
    for _ in 0..2 {
        let _put = home.run("zput", ["--name", name, "file"]).ok();
    }
    assert!(home.run("zget", ["-o", "-", name]).ok().stdout == SECRET);
    let _removed = home.run("zblob rm", [name]).ok();
    for text in [&spent, &unspent] {
        let invite: Invite = text.parse().unwrap();
        needles.push(invite.secret.as_bytes().to_vec());
        needles.push(hex::encode(invite.secret.as_bytes()).into_bytes());
    }
    let key_file =
        files(home.path()).into_iter().find(|p| p.extension().is_some_and(|e| e == "zkey"));
    let text = fs::read_to_string(key_file.unwrap()).unwrap();
    let ParsedKeyFile::Open(key_file) = KeyFile::parse(&text).unwrap() else { panic!() };
    for secret in [
        key_file.vault_secret().as_bytes(),
        key_file.device_seed().as_bytes(),
        key_file.device_seed().tls_key().as_bytes(),
    ] {
        needles.push(secret.to_vec());
        needles.push(hex::encode(secret).into_bytes());
    }
    needles.push(key_file.identity().unwrap().to_secret_string().as_bytes().to_vec());
    let tree = guarded.tree();
    let mut sealed = 0;
    for (path, bytes) in &tree {
        for needle in &needles {
            let shown = path.to_string_lossy();
            let what = String::from_utf8_lossy(needle);
            assert!(!holds(bytes, needle), "{what:?} is in {shown}");
            assert!(!holds(shown.as_bytes(), needle), "{what:?} is in {shown}");
        }
        sealed += usize::from(holds(bytes, b"\x8Azputend"));
        if !bytes.is_empty() {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o77, 0, "{}", path.display());
        }
    }
    assert_eq!(sealed, 2, "the two versions are there, sealed");
}

/// SECURITY: "An attacker takes over a backup host". The attacker can put more, and that is all.
#[test]
fn put_only_host_taken_over_reads_and_destroys_nothing() {
    let guarded = Guarded::new(&[]);
    let owner = Machine::new();
    let _made = owner.run("zblob key", ["new"]).ok();
    let _joined = owner.run_with("zblob key", ["join"], guarded.server.invite(&[]).as_bytes()).ok();
    owner.write("file", SECRET);
    let _put = owner.run("zput", ["--name", "other", "file"]).ok();
    let _exported = owner.run("zblob key", ["export", "--put-only", "-o", "backup.zkey"]).ok();
    let backup = Machine::new();
    backup.write("k", owner.read("backup.zkey"));
    let invite = guarded.server.invite(&["--scopes", "put"]);
    let _joined = backup.run_with("zblob key", ["join", "--key", "k"], invite.as_bytes()).ok();
    backup.write("dump", b"the first dump");
    let _put = backup.run("zput", ["--key", "k", "--name", "dump", "dump"]).ok();
    let version = owner.run("zblob stat", ["--json", "dump"]).ok().text();
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let version = version["version"].as_str().unwrap();

    // Its own, and others'.
    for name in ["dump", "other"] {
        for (command, args, codes) in [
            ("zget", &["-o", "-"][..], [6, 7]),
            ("zblob stat", &[], [6, 7]),
            ("zblob stat", &["--versions"], [6, 6]),
            ("zblob rm", &[], [6, 6]),
        ] {
            let args = ["--key", "k"].iter().chain(args).chain(std::iter::once(&name));
            let ran = backup.run(command, args);
            assert!(
                codes.map(Some).contains(&ran.code),
                "{command}: {:?} {}",
                ran.code,
                ran.stderr
            );
            assert!(ran.stdout.is_empty());
        }
        let ran = backup.run("zblob restore", ["--key", "k", name, version]).ended(6);
        assert!(ran.stdout.is_empty());
    }
    let ran = backup.run("zblob ls", ["--key", "k"]);
    assert!(matches!(ran.code, Some(6 | 7)), "{}", ran.stderr);
    for role in ["--get-only", "--full"] {
        let ran = backup.run("zblob key", ["export", role, "--key", "k", "-o", "more.zkey"]);
        assert_ne!(ran.code, Some(0), "{role}");
        assert!(!backup.file("more.zkey").exists());
    }
    // It puts rubbish on top of both; what was there is still there.
    backup.write("dump", b"rubbish");
    for name in ["dump", "other"] {
        let _put = backup.run("zput", ["--key", "k", "--name", name, "dump"]).ok();
    }
    let got = owner.run("zget", ["-o", "-", "--at", version, "dump"]).ok();
    assert_eq!(got.text(), "the first dump");
    let versions = owner.run("zblob stat", ["--versions", "--json", "other"]).ok().text();
    let first: serde_json::Value = serde_json::from_str(versions.lines().last().unwrap()).unwrap();
    let first = first["version"].as_str().unwrap();
    assert!(owner.run("zget", ["-o", "-", "--at", first, "other"]).ok().stdout == SECRET);
    // The owner still gets, puts, restores and removes under both names.
    for name in ["dump", "other"] {
        assert_eq!(owner.run("zget", ["-o", "-", name]).ok().text(), "rubbish");
        let _put = owner.run("zput", ["--name", name, "file"]).ok();
        assert!(owner.run("zget", ["-o", "-", name]).ok().stdout == SECRET);
    }
    let _restored = owner.run("zblob restore", ["dump", version]).ok();
    assert_eq!(owner.run("zget", ["-o", "-", "dump"]).ok().text(), "the first dump");
    let _removed = owner.run("zblob rm", ["other"]).ok();
    let _gone = owner.run("zget", ["-o", "-", "other"]).ended(4);
    // Its key file says so itself.
    let text = String::from_utf8(backup.read("k")).unwrap();
    let ParsedKeyFile::Open(key_file) = KeyFile::parse(&text).unwrap() else { panic!() };
    assert_eq!(key_file.role(), Role::Put);
    assert!(!text.contains("AGE-SECRET-KEY"));
}
