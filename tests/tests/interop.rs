//! Others read what zput writes, and zput reads what others wrote: an independent reader of the
//! format (`tests/interop/open.mjs`, on node), and age's own key generator.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use zput_proto::name::BlobName;
use zput_seal::keys::{KeyFile, ParsedKeyFile};
use zput_tests::{
    Machine, Pattern, Ran,
    hostile::{Forgery, forge::metadata},
    installed, or_skip, workspace,
};

/// Three parts, the last of 5 bytes.
const THREE_PARTS: u64 = 33_554_437;

/// The independent reader, where it can run.
fn reader() -> Result<PathBuf, &'static str> {
    let directory = workspace().join("tests/interop");
    if installed("node").is_none() {
        return Err("node is not installed");
    }
    if !directory.join("node_modules").is_dir() {
        return Err("the reader's packages are not installed (npm ci in tests/interop)");
    }
    Ok(directory.join("open.mjs"))
}

/// A home whose key file is around the identity of a hybrid key of its own, or of age-keygen's.
fn member(hybrid: bool) -> Result<Machine, &'static str> {
    let home = Machine::new();
    if hybrid {
        let _made = home.run("zblob key", ["new"]).ok();
        return Ok(home);
    }
    age_keygen(&home, "age.key")?;
    let _made = home.run("zblob key", ["import", "--identity", "age.key"]).ok();
    Ok(home)
}

/// An identity by age-keygen in `file`; its recipient.
fn age_keygen(home: &Machine, file: &str) -> Result<String, &'static str> {
    if installed("age-keygen").is_none() {
        return Err("age-keygen is not installed");
    }
    let run = |arguments: &[&str]| {
        let mut command = home.program("age-keygen");
        Ran::from(command.args(arguments).output().unwrap()).ok()
    };
    let _made = run(&["-o", file]);
    Ok(run(&["-y", file]).text().trim().to_owned())
}

/// Opens `blob` by the reader: its exit code, what came out, what it said.
fn open(reader: &Path, home: &Machine, vault: &str, blob: &str) -> Ran {
    let mut command = Command::new("node");
    command.arg(reader).args(["identity", vault, blob]).current_dir(home.file("."));
    Ran::from(command.output().unwrap())
}

/// Writes what the reader needs of a key file.
fn hand_out_secrets(home: &Machine) {
    home.write("identity", home.key_field("identity").as_bytes());
    home.write("vault", home.key_field("vault_secret").as_bytes());
}

/// The one object of the embedded store, without the server's record (STORE, "The record").
fn only_blob(home: &Machine) -> Vec<u8> {
    let objects = home.path().join(".local/share/zput/store/objects");
    let mut files = fs::read_dir(objects)
        .unwrap()
        .flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap())
        .map(|object| object.unwrap().path());
    let mut blob = fs::read(files.next().unwrap()).unwrap();
    assert_eq!(files.next(), None);
    let end = blob.len();
    // From the end: magic 8, digest 32, key length 2, digest of the slices 32, their count 4.
    assert_eq!(blob[end - 8..], *b"\x8Azputrec");
    let key_length = u16::from_be_bytes(blob[end - 42..end - 40].try_into().unwrap());
    let slices = u32::from_be_bytes(blob[end - 78..end - 74].try_into().unwrap());
    blob.truncate(end - 136 - usize::from(key_length) - 36 * slices as usize);
    blob
}

fn reads_what_zput_stored(hybrid: bool, suite: &str) {
    let reader = or_skip!(reader());
    let home = or_skip!(member(hybrid));
    hand_out_secrets(&home);
    let bytes = Pattern::bytes(1, THREE_PARTS);
    let put = ["--suite", suite, "--sha256", "--name", "plans/big", "-"];
    let _stored = home.run_with("zput", put, &bytes).ok();
    home.write("blob", only_blob(&home));
    let opened = open(&reader, &home, "vault", "blob").ok();
    assert!(opened.stdout == bytes, "{} bytes came", opened.stdout.len());

    // What zblob seal seals by the same key file is a member's blob as well; its key is none.
    home.write("sealed", &bytes[..100_000]);
    let _sealed = home.run("zblob seal", ["--suite", suite, "-o", "small", "sealed"]).ok();
    let _opened = home.run("zblob open", ["-o", "opened", "small"]).ok();
    assert!(home.read("opened") == bytes[..100_000]);
}

/// The independent reader opens a blob put for a hybrid identity by the AES suite.
#[test]
fn open_mjs_opens_put_for_hybrid_identity_by_aes() {
    reads_what_zput_stored(true, "aes");
}

/// The independent reader opens a blob put for a hybrid identity by the ChaCha suite.
#[test]
fn open_mjs_opens_put_for_hybrid_identity_by_chacha() {
    reads_what_zput_stored(true, "chacha");
}

/// The independent reader opens a blob put for an X25519 identity by the AES suite.
#[test]
fn open_mjs_opens_put_for_x25519_identity_by_aes() {
    reads_what_zput_stored(false, "aes");
}

/// The independent reader opens a blob put for an X25519 identity by the ChaCha suite.
#[test]
fn open_mjs_opens_put_for_x25519_identity_by_chacha() {
    reads_what_zput_stored(false, "chacha");
}

/// The independent reader opens a bare blob, and refuses it where a vault is asked for.
#[test]
fn open_mjs_opens_blob_that_zblob_seal_sealed_to_a_recipient() {
    let reader = or_skip!(reader());
    for (hybrid, suite, length) in [
        (true, "aes", THREE_PARTS),
        (true, "chacha", 0),
        (false, "aes", 16_384),
        (false, "chacha", THREE_PARTS),
    ] {
        let home = or_skip!(member(hybrid));
        hand_out_secrets(&home);
        let public = home.run("zblob key", ["public"]).ok().text();
        let recipient = public.lines().find_map(|line| line.strip_prefix("recipient ")).unwrap();
        home.write("plain", Pattern::bytes(2, length));
        let sealed =
            home.run("zblob seal", ["--suite", suite, "-r", recipient, "-o", "blob", "plain"]).ok();
        assert_eq!(
            sealed.stderr,
            "zblob seal: sealed without a vault: the author of this blob is not authenticated\n"
        );
        let opened = open(&reader, &home, "-", "blob").ok();
        assert!(opened.stdout == home.read("plain"), "{length} bytes by {suite}");
        // It has no vault, and a get that requires one reports that.
        let _refused = open(&reader, &home, "vault", "blob").ended(1);
        let _refused = home.run("zblob open", ["-o", "x", "blob"]).ended(8);
    }
}

/// The independent reader refuses a blob with a flipped byte or of another vault.
#[test]
fn open_mjs_refuses_flipped_byte_and_another_vault() {
    let reader = or_skip!(reader());
    let home = or_skip!(member(true));
    hand_out_secrets(&home);
    let _stored = home.run_with("zput", ["--name", "x", "--sha256", "-"], &[7; 20_000]).ok();
    let blob = only_blob(&home);
    home.write("blob", &blob);
    let _opened = open(&reader, &home, "vault", "blob").ok();
    // Spread over header, part and footer, first and last byte included.
    for n in 0..=15 {
        let at = (blob.len() - 1) * n / 15;
        let mut flipped = blob.clone();
        flipped[at] ^= 0x10;
        home.write("flipped", &flipped);
        let refused = open(&reader, &home, "vault", "flipped").ended(1);
        assert!(refused.stdout.is_empty(), "byte {at}");
        assert!(refused.stderr.starts_with("open.mjs: "), "byte {at}: {}", refused.stderr);
    }
    home.write("vault", [b'7'; 64]);
    let _refused = open(&reader, &home, "vault", "blob").ended(1);
}

/// The golden files of the next format's secrets are what the independent script makes of the page.
#[test]
fn secrets_v2_mjs_makes_golden_files() {
    let node = or_skip!(installed("node").ok_or("node is not installed"));
    for (what, file) in [("derive", "derive-v2.txt"), ("kit", "kit-v2.txt")] {
        let mut script = Command::new(&node);
        script.arg(workspace().join("tests/interop/secrets-v2.mjs")).arg(what);
        let made = Ran::from(script.output().unwrap()).ok().text();
        let golden = workspace().join("common/seal/tests/data").join(file);
        assert_eq!(made, fs::read_to_string(golden).unwrap(), "{file}");
    }
}

/// A blob sealed to a recipient of age-keygen is opened by its identity and no other.
#[test]
fn age_keygen_identity_seals_and_opens() {
    let home = Machine::new();
    let recipient = or_skip!(age_keygen(&home, "age.key"));
    assert!(recipient.starts_with("age1"), "{recipient}");
    let bytes = Pattern::bytes(3, 17_000_000);
    home.write("plain", &bytes);
    let _sealed = home.run("zblob seal", ["-r", &recipient, "plain"]).ok();
    let _opened = home.run("zblob open", ["-i", "age.key", "-o", "again", "plain.zput"]).ok();
    assert!(home.read("again") == bytes);
    // Through pipes, too.
    let sealed = home.run_with("zblob seal", ["-r", &recipient, "-"], &bytes).ok().stdout;
    let opened = home.run_with("zblob open", ["-i", "age.key", "-"], &sealed).ok();
    assert!(opened.stdout == bytes);
    // Another identity of the same kind does not open it.
    let _other = age_keygen(&home, "other.key").unwrap();
    let _refused = home.run("zblob open", ["-i", "other.key", "-o", "x", "plain.zput"]).ended(7);
    assert!(!home.file("x").exists());
}

/// Two readers, one verdict: what FORMAT refuses without saying that it is forged, and what it
/// takes although no writer makes it.
#[test]
fn open_mjs_and_zblob_open_come_to_one_verdict() {
    const NAME: &str = "plans/x";
    let reader = or_skip!(reader());
    let home = or_skip!(member(false));
    hand_out_secrets(&home);
    let text = fs::read_to_string(home.key_file()).unwrap();
    let ParsedKeyFile::Open(member) = KeyFile::parse(&text).unwrap() else { panic!() };
    let key = member.object_key(&BlobName::parse(NAME).unwrap());
    let honest = Forgery::honest(&member, &key, NAME, b"plaintext");
    let named = |name: &[u8], ns| Forgery { metadata: metadata(name, 0, ns, 0), ..honest.clone() };
    let facts = |facts: &[u8]| Forgery { facts: Some(facts.to_vec()), ..honest.clone() };
    let stanza = |before: &str, behind: &str| {
        let stanzas = [before.as_bytes(), &honest.stanzas(), behind.as_bytes()].concat();
        Forgery { stanzas: Some(stanzas), ..honest.clone() }
    };
    let body = "A".repeat(43);
    // RFC 7748: u = 0 and u = 1 are points of low order, and so are they with the bit that is
    // masked.
    let [zero, one] =
        [&body, &format!("AQ{}", "A".repeat(41))].map(|s| format!("-> X25519 {s}\n{body}\n"));
    let masked = format!("-> X25519 {}IA\n{body}\n", "A".repeat(41));
    let hybrid =
        |end: &str| format!("-> mlkem768x25519 {}{end}\n{body}\n", "A".repeat(1494 - end.len()));
    let long = "n".repeat(1025);
    let refused = [
        ("a share of low order before ours", stanza(&zero, "")),
        ("a share of low order behind ours", stanza("", &one)),
        ("a share of low order and a masked bit", stanza("", &masked)),
        ("a share of low order of another type", stanza("", &hybrid("A"))),
        ("padded base64", stanza("", &format!("-> new\n{body}=\n"))),
        ("base64 with bits to spare", stanza("", &format!("-> new\n{}B\n", "A".repeat(42)))),
        ("an argument that is not visible", stanza("", "-> new \u{7f}\n\n")),
        ("an empty argument", stanza("", "-> new  x\n\n")),
        ("two shares", stanza("", &format!("-> X25519 CQ{0} CQ{0}\n{body}\n", "A".repeat(41)))),
        (
            "a body of 31 bytes",
            stanza("", &format!("-> X25519 CQ{}\n{}\n", "A".repeat(41), "A".repeat(42))),
        ),
        ("a generation of 2^64-1", Forgery { generation: u64::MAX, ..honest.clone() }),
        ("an empty list of facts", facts(b"")),
        ("facts in no order", facts(b"\x09\x00\x08\x00")),
        ("a fact twice", facts(b"\x09\x00\x09\x00")),
        ("a SHA-256 of 31 bytes", facts(&[&[1, 31][..], &[7; 31]].concat())),
        ("a name of no bytes", named(b"", 0)),
        ("a name of 1,025 bytes", named(long.as_bytes(), 0)),
        ("a name that leads up", named(b"plans/../x", 0)),
        ("a control character in a name", named(b"plans/\xc2\x85", 0)),
        ("a second of 10^9 ns", named(NAME.as_bytes(), 1_000_000_000)),
        ("a key of 1,025 bytes", Forgery { object_key: vec![b'k'; 1025], ..honest.clone() }),
    ];
    let taken = [
        ("an honest one", honest.clone()),
        ("the last generation", Forgery { generation: u64::MAX - 1, ..honest.clone() }),
        ("an unknown stanza", stanza("-> scrypt c2FsdA 30\n\n", "-> new ~ !\nAAAA\n")),
        ("another's share", stanza("", &format!("-> X25519 CQ{}\n{body}\n", "A".repeat(41)))),
        ("another's hybrid share", stanza("", &hybrid("CQ"))),
        ("facts that are not known, and tag 0", facts(b"\x00\x01x\xc8\x00")),
        ("the last nanosecond", named(NAME.as_bytes(), 999_999_999)),
    ];
    let verdicts = |forgery: &Forgery| {
        home.write("blob", forgery.seal());
        (open(&reader, &home, "vault", "blob"), home.run("zblob open", ["-o", "-", "blob"]))
    };
    for (what, forgery) in &refused {
        let (theirs, ours) = verdicts(forgery);
        assert_eq!(
            (theirs.code, ours.code),
            (Some(1), Some(8)),
            "{what}: {}{}",
            theirs.stderr,
            ours.stderr
        );
        assert!(theirs.stdout.is_empty() && ours.stdout.is_empty(), "{what}");
        assert!(theirs.stderr.starts_with("open.mjs: "), "{what}: {}", theirs.stderr);
    }
    for (what, forgery) in &taken {
        let (theirs, ours) = verdicts(forgery);
        assert_eq!(
            (theirs.code, ours.code),
            (Some(0), Some(0)),
            "{what}: {}{}",
            theirs.stderr,
            ours.stderr
        );
        assert!(theirs.text() == "plaintext" && ours.text() == "plaintext", "{what}");
    }
}

/// The golden files of format 2 are what the script makes of the page, byte for byte, and no others
/// lie beside them.
#[test]
fn golden_files_of_format_2_are_those_of_the_script() {
    let node = or_skip!(installed("node").ok_or("node is not installed"));
    let script = workspace().join("tests/interop/golden-v2.mjs");
    let ran = Ran::from(Command::new(node).arg(script).arg("--check").output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

/// The golden blobs of format 2, their values and the refused pieces are what the script makes of
/// the page. It needs packages, as the reader does.
#[test]
fn golden_blobs_of_format_2_are_those_of_the_script() {
    let reader = or_skip!(reader());
    let ran = Ran::from(
        Command::new("node")
            .arg(reader.with_file_name("blob-v2.mjs"))
            .arg("--check")
            .output()
            .unwrap(),
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

/// The golden frames and hellos of protocol 2 are what the script makes of the page. It needs
/// packages, as the reader does.
#[test]
fn golden_messages_of_protocol_2_are_those_of_the_script() {
    let reader = or_skip!(reader());
    let ran = Ran::from(
        Command::new("node")
            .arg(reader.with_file_name("messages-v2.mjs"))
            .arg("--check")
            .output()
            .unwrap(),
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
