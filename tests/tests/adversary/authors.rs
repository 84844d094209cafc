//! Members of the vault as authors: whatever a blob says of itself, it goes where the user said.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use zput_seal::{age::FileKey, blob::header::Header, keys::ModePolicy};
use zput_tests::{
    Ran, command_path,
    hostile::{Forgery, forge::metadata},
};

use crate::victim::{FILE, NAME, Victim, is_for_terminals, member};

const SMALL: &[u8] = b"the quick brown fox jumps over the lazy dog";

fn with_metadata(victim: &Victim, metadata: Vec<u8>) -> Vec<u8> {
    Forgery { metadata, ..victim.honest(SMALL) }.seal()
}

/// FORMAT 10: names are relative, without `..` and control characters. Others are refused, not
/// mended.
#[test]
fn blob_with_hostile_name_is_refused_by_get_open_and_stat() {
    let victim = Victim::new(ModePolicy::Tls);
    let long = vec![b'a'; 1025];
    let names: [&[u8]; 19] = [
        b"",
        b"/",
        b"/etc/passwd",
        b"/tmp/zput-escaped",
        b"..",
        b".",
        b"../escaped",
        b"../../../../../../tmp/zput-escaped",
        b"a/../../escaped",
        b"a/./b",
        b"a//b",
        b"a/",
        b"a\0b",
        b"a\nb",
        b"\x1b]0;pwned\x07",
        b"\x7f",
        "\u{9b}31m".as_bytes(),
        b"\xff\xfe",
        &long,
    ];
    for name in names {
        let blob = with_metadata(&victim, metadata(name, 0, 0, 0o644));
        victim.serve(blob.clone());
        victim.refuses(8, b"");
        victim.home.write("sealed.zput", &blob);
        for args in [&["sealed.zput"][..], &["-o", "-", "sealed.zput"]] {
            let ran = victim.run("zblob open", args).ended(8);
            assert!(ran.stdout.is_empty(), "{name:?}");
            assert!(is_for_terminals(&ran.stderr), "{:?}", ran.stderr);
        }
        let ran = victim.run("zblob stat", &[NAME]).ended(8);
        assert!(is_for_terminals(&ran.stderr), "{:?}", ran.stderr);
        assert_eq!(victim.files(), ["sealed.zput".to_owned()].into());
    }
    assert!(!std::path::Path::new("/tmp/zput-escaped").exists());
    let home: Vec<_> = fs::read_dir(victim.home.path()).unwrap().collect();
    assert!(home.len() <= 3, "{home:?}");
}

/// FORMAT 9, step 4: "the name inside leads to it". A get, a look and a listing come to one
/// verdict.
#[test]
fn blob_of_another_name_is_refused_by_get_stat_and_ls() {
    let victim = Victim::new(ModePolicy::Tls);
    for name in ["work/other", "-rf", "a\u{202e}b"] {
        victim.serve(with_metadata(&victim, metadata(name.as_bytes(), 0, 0, 0o600)));
        let commands: [(&str, &[&str]); 5] = [
            ("zget", &[NAME]),
            ("zget", &["--range", "1-5", NAME]),
            ("zget", &["--verify-only", NAME]),
            ("zblob stat", &[NAME]),
            ("zblob ls", &[]),
        ];
        for (command, args) in commands {
            let ran = victim.run(command, args).ended(8);
            assert!(ran.stderr.contains("its name leads to another object"), "{}", ran.stderr);
            assert!(is_for_terminals(&ran.stderr), "{:?}", ran.stderr);
            assert!(ran.stdout.is_empty(), "{command}: {name}");
        }
        assert_eq!(victim.files(), [].into(), "{name}");
    }
    victim.serve(victim.honest(SMALL).seal());
    victim.accepts(SMALL);
}

/// Special mode bits that an author sealed are not set, and this machine's umask applies.
#[test]
fn zget_strips_special_mode_bits_and_applies_umask() {
    let victim = Victim::new(ModePolicy::Tls);
    let zget = |umask: &str| -> Ran {
        let mut sh = Command::new("sh");
        sh.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(command_path("zget"));
        sh.arg("--key").arg(victim.home.path().join("victim.zkey")).arg(NAME);
        sh.current_dir(victim.home.file("")).env_clear().env("HOME", victim.home.path());
        sh.output().unwrap().into()
    };
    for (sealed, bare, masked) in [
        (0o4755, 0o755, 0o750),
        (0o2777, 0o777, 0o750),
        (0o1777, 0o777, 0o750),
        (0o7777, 0o777, 0o750),
        (u32::MAX, 0o777, 0o750),
        (0o100_644, 0o644, 0o640),
        (0, 0, 0),
    ] {
        victim.serve(with_metadata(&victim, metadata(NAME.as_bytes(), 0, 0, sealed)));
        for (umask, kept) in [("000", bare), ("027", masked)] {
            let _got = zget(umask).ok();
            let mode = fs::symlink_metadata(victim.home.file(FILE)).unwrap().mode();
            assert_eq!(mode & 0o7777, kept, "{sealed:o} under {umask}");
            fs::remove_file(victim.home.file(FILE)).unwrap();
        }
    }
}

/// Blobs with extreme times are got and listed; 10^9 or more nanoseconds are refused.
#[test]
fn blob_with_extreme_mtime_is_got_and_listed() {
    let victim = Victim::new(ModePolicy::Tls);
    let times = [
        (0, 0),
        (i64::MAX, 999_999_999),
        (i64::MIN, 0),
        (i64::MIN, 999_999_999),
        (-1, 999_999_999),
        (1 << 34, 0),
        (1 << 60, 1),
        (253_402_300_800, 0),
    ];
    for (seconds, nanoseconds) in times {
        let metadata = metadata(NAME.as_bytes(), seconds, nanoseconds, 0o600);
        victim.serve(with_metadata(&victim, metadata));
        let _got = victim.run("zget", &[NAME]).ok();
        assert_eq!(victim.home.read(FILE), SMALL, "{seconds}");
        fs::remove_file(victim.home.file(FILE)).unwrap();
        for (command, args) in [
            ("zblob stat", &[NAME][..]),
            ("zblob stat", &["--json", NAME]),
            ("zblob ls", &["-l"]),
            ("zblob ls", &["--json"]),
        ] {
            let ran = victim.run(command, args).ok();
            assert!(!ran.text().is_empty(), "{command} {seconds}");
        }
    }
    // FORMAT 5: "below 10⁹".
    for nanoseconds in [1_000_000_000, u32::MAX] {
        let metadata = metadata(NAME.as_bytes(), 0, nanoseconds, 0o600);
        victim.serve(with_metadata(&victim, metadata));
        victim.refuses(8, b"");
    }
}

/// "Nothing follows; a longer or shorter plaintext is refused."
#[test]
fn metadata_and_facts_that_are_malformed_are_refused() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = metadata(NAME.as_bytes(), 0, 0, 0o600);
    let with_length = |length: u16| [&length.to_be_bytes()[..], &honest[2..]].concat();
    for metadata in [
        Vec::new(),
        honest[..honest.len() - 1].to_vec(),
        [&honest[..], b"x"].concat(),
        with_length(0),
        with_length(u16::MAX),
        with_length(NAME.len() as u16 + 16),
        with_length(NAME.len() as u16 - 1),
    ] {
        victim.serve(with_metadata(&victim, metadata));
        victim.refuses(8, b"");
    }
    for facts in [
        vec![1],
        vec![1, 32],
        [&[1, 31][..], &[7; 31]].concat(),
        [&[1, 33][..], &[7; 33]].concat(),
        vec![2, 0, 2, 0],
        vec![3, 0, 2, 0],
        vec![9, 255],
        vec![0; 953],
    ] {
        let what = format!("{facts:?}");
        victim.serve(Forgery { facts: Some(facts), ..victim.honest(SMALL) }.seal());
        let said = victim.refuses(8, b"");
        assert!(!said.is_empty(), "{what}");
    }
    // Facts of a later version are skipped.
    let facts = Some([&[1, 32][..], &[7; 32], &[200, 3, 1, 2, 3]].concat());
    victim.serve(Forgery { facts, ..victim.honest(SMALL) }.seal());
    victim.accepts(SMALL);
}

/// SECURITY: "two plaintexts for one ciphertext". A stanza for a second recipient that wraps
/// another file key opens nothing: the header's MAC is of one file key.
#[test]
fn blob_has_one_plaintext_for_all_recipients() {
    let victim = Victim::new(ModePolicy::Tls);
    let other = member();
    let both = vec![other.recipients[0].clone(), victim.member.recipients[0].clone()];
    let forgery = Forgery { recipients: both, ..victim.honest(SMALL) };
    victim.serve(forgery.seal());
    victim.accepts(SMALL);
    // The two stanzas wrap two keys: under the MAC of one of them, ours is the other.
    let (first, second) = (FileKey::from_bytes(forgery.file_key), FileKey::from_bytes([9; 16]));
    for (sealed_by, for_them, for_us) in [(&first, &first, &second), (&second, &second, &first)] {
        let mut stanzas = Vec::new();
        for (recipient, file_key) in forgery.recipients.iter().zip([for_them, for_us]) {
            recipient.wrap(file_key, &mut rand::rng()).unwrap().encode(&mut stanzas);
        }
        let file_key = *sealed_by.as_bytes();
        victim.serve(Forgery { file_key, stanzas: Some(stanzas), ..forgery.clone() }.seal());
        let said = victim.refuses(8, b"");
        assert!(said.contains("the header is not the one that was sealed"), "{said}");
    }
}

/// A part under another key does not open, even if a footer vouches for it.
#[test]
fn part_under_another_key_is_refused_although_footer_lists_it() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = victim.honest(SMALL);
    let other = Forgery { file_key: [9; 16], ..honest.clone() };
    let context = Forgery { plaintext: SMALL.to_vec(), ..honest.clone() }.part(1, SMALL);
    for part in [other.part(0, SMALL), context, honest.part(0, &SMALL[1..])] {
        let pieces = honest.pieces_with(vec![part]);
        victim.serve(pieces.join());
        victim.refuses(8, b"");
    }
    victim.serve(honest.seal());
    victim.accepts(SMALL);
}

/// Unknown suites and part sizes, 0 or 33 recipients and malformed stanzas are refused.
#[test]
fn blob_framing_that_no_writer_makes_is_refused() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = victim.honest(SMALL);
    let many: Vec<_> = (0..33).map(|_| member().recipients[0].clone()).collect();
    let with_ours = [&many[..31], &honest.recipients].concat();
    let forgeries = [
        ("suite 0", Forgery { suite: 0, ..honest.clone() }),
        ("suite 3", Forgery { suite: 3, ..honest.clone() }),
        ("parts of 32 KiB", Forgery { part_size_log2: 15, ..honest.clone() }),
        ("parts of 32 MiB", Forgery { part_size_log2: 25, ..honest.clone() }),
        ("no recipients", Forgery { recipients: Vec::new(), ..honest.clone() }),
        ("33 recipients", Forgery { recipients: many, ..honest.clone() }),
    ];
    for (what, forgery) in forgeries {
        victim.serve(forgery.seal());
        let said = victim.refuses(8, b"");
        assert!(!said.is_empty(), "{what}");
    }
    victim.serve(Forgery { recipients: with_ours, ..honest.clone() }.seal());
    victim.accepts(SMALL);
    // Stanzas by the letter of age, or not at all.
    let x25519 = |share: &str, body: &str| format!("-> X25519 {share}\n{body}\n");
    let share = "A".repeat(43);
    let body = "A".repeat(43);
    for stanza in [
        // A share of zeros, the low-order point: the shared secret is known to all.
        x25519(&share, &body),
        x25519(&share[1..], &body),
        x25519(&share, &body[1..]),
        x25519(&format!("{share}="), &body),
        x25519(&format!("{} x", share), &body),
        format!("-> mlkem768x25519 {share}\n{body}\n"),
        "-> X25519\n\n".to_owned(),
        format!("-> X25519 {share}\n{body}"),
        "X25519\n".to_owned(),
        "-> \n\n".to_owned(),
        "\n".to_owned(),
    ] {
        let stanzas = Some([stanza.as_bytes(), &honest.stanzas()].concat());
        victim.serve(Forgery { stanzas, ..honest.clone() }.seal());
        let said = victim.refuses(8, b"");
        assert!(is_for_terminals(&said));
    }
    // A kind that is not known is skipped.
    let stanzas = Some([&b"-> scrypt c2FsdA 30\n\n"[..], &honest.stanzas()].concat());
    victim.serve(Forgery { stanzas, ..honest.clone() }.seal());
    victim.accepts(SMALL);
}

/// A member can claim a generation that nothing can follow: no reader remembers it, and what was
/// there before can be restored. Nor does it spread: the machine that puts next goes on from its
/// own clock, and another that has read everything takes all of it.
#[test]
fn generation_beyond_all_clocks_is_undone_by_restore_or_put() {
    let victim = Victim::new(ModePolicy::Tls);
    let version = victim.server.shelf().put(&victim.key, victim.honest(SMALL).seal());
    // The library has a state of its own: another machine of the vault.
    let accepts = |plaintext: &[u8]| {
        victim.accepts(plaintext);
        assert_eq!(victim.exit(), (0, plaintext.to_vec()), "the other machine refuses it");
    };
    accepts(SMALL);
    let last = Forgery { generation: u64::MAX - 1, ..victim.honest(b"the last word") };
    victim.server.shelf().put(&victim.key, last.seal());
    accepts(b"the last word");
    let _restored = victim.run("zblob restore", &[NAME, &version.to_string()]).ok();
    accepts(SMALL);
    victim.server.shelf().put(&victim.key, last.seal());
    accepts(b"the last word");
    // It is beyond all clocks, so no reader remembers it, and the next put counts.
    victim.home.write("file", b"newer");
    let _put = victim.run("zput", &["--name", NAME, "file"]).ok();
    let stored = victim.server.shelf().get(&victim.key).unwrap().clone();
    let header = Header::parse(&stored.bytes[..stored.info.header_length as usize]).unwrap();
    // The year 2200, in nanoseconds.
    assert!(header.generation() < 7_258_118_400_000_000_000, "{}", header.generation());
    accepts(b"newer");
}
