//! What a key file keeps, what it refuses, and that its errors tell no secrets.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use zput_proto::{keys::InviteSecret, mount::MountName};

use super::*;

const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const DEVICE_SEED: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";
const VAULT_SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SERVER_KEY: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";

/// A key file as a person might write it.
fn written_by_hand() -> String {
    format!(
        r#"
        format = 1
        role = "full"
        remote = "zput://example.org:7447"
        server_key = "{SERVER_KEY}"
        names = "sealed"
        recipients = ["{RECIPIENT}"]
        device_seed = "{DEVICE_SEED}"
        vault_secret = "{VAULT_SECRET}"
        identity = "{IDENTITY}"
        "#
    )
}

/// The same secrets under a passphrase. `sealed` was computed by Python's `cryptography` (Argon2id
/// and ChaCha20-Poly1305) and `hmac` (HKDF-Expand) from FORMAT 11 and c2sp.org/chunked-encryption.
fn locked_by_another_program() -> String {
    format!(
        r#"
        format = 1
        role = "full"
        names = "sealed"
        recipients = ["{RECIPIENT}"]
        [protected]
        kdf = "argon2id"
        memory_kib = 65536
        passes = 3
        lanes = 4
        salt = "000102030405060708090a0b0c0d0e0f"
        sealed = "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7aM2QmD0Zmjs771x0j1v1y1A7IIih8jacr8Z/RNFCWdWUUNuVdW9w5wh2dNvpujvlAz8M4BriYANWPKukR3hs8Wy30gCjeBcGrjM6zhwBCJaiQ1NQPPxFbWEEX0btY5uM/SUSqTblFaju7xYYPs3p49uPEP2TEDs3Pq/TZvKKZBxJTLkgI/6hWavNNXwrKKGwaU9frvPt3u5b06ehqJk18AFSTtnWFokZLi+qaK4cDN6h6mkTgDOI947P"
        "#
    )
}

fn open(text: &str) -> KeyFile {
    match KeyFile::parse(text).unwrap() {
        ParsedKeyFile::Open(file) => file,
        ParsedKeyFile::Locked(_) => panic!("it is locked"),
    }
}

fn locked(text: &str) -> LockedKeyFile {
    match KeyFile::parse(text).unwrap() {
        ParsedKeyFile::Locked(file) => file,
        ParsedKeyFile::Open(_) => panic!("it is open"),
    }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

/// Parsing reads every field of a key file written by hand.
#[test]
fn key_file_parse_reads_every_field() {
    let file = open(&written_by_hand());
    assert_eq!(file.role(), Role::Full);
    assert_eq!(file.remote, Some(tcp("example.org", 7447, "")));
    assert_eq!(file.mode, ModePolicy::Tls);
    assert_eq!(file.server_key.unwrap().to_string(), SERVER_KEY);
    assert_eq!(file.names, Names::Sealed);
    assert_eq!(file.recipients[0].to_string(), RECIPIENT);
    assert!(file.writers.is_empty());
    assert_eq!(hex::encode(file.device_seed().as_bytes()), DEVICE_SEED);
    assert_eq!(hex::encode(file.vault_secret().as_bytes()), VAULT_SECRET);
    assert_eq!(file.identity().unwrap().to_secret_string().as_str(), IDENTITY);
}

/// Both object keys computed by hand: the sealed one as in the vault's test.
#[test]
fn key_file_maps_names_to_object_keys() {
    let mut file = open(&written_by_hand());
    let name = BlobName::parse("Grüße/secret.bin").unwrap();
    assert_eq!(
        file.object_key(&name).as_bytes(),
        b"e86141dc4f570226aa49f55b118446c0934782521310c5831bb60dc9f381a653"
    );
    file.names = Names::Clear;
    assert_eq!(file.object_key(&name).as_bytes(), "Grüße/secret.bin".as_bytes());
}

/// A generated key file has a hybrid recipient and parses back from its text.
#[test]
fn key_file_generate_is_post_quantum_and_round_trips() {
    let file = KeyFile::generate(&mut rng());
    assert_eq!(file.role(), Role::Full);
    assert!(matches!(file.recipients[..], [Recipient::MlKem768X25519(_)]));
    assert_eq!(file.recipients[0], file.identity().unwrap().to_recipient());
    let text = file.to_toml().unwrap();
    assert!(text.contains("BACK IT UP"));
    assert_eq!(open(&text), file);
}

/// A locked key file shows no secret and unlocks only with its passphrase.
#[test]
fn key_file_locks_and_unlocks_with_passphrase() {
    let mut file = open(&written_by_hand());
    file.mode = ModePolicy::Plaintext;
    let text = file.to_toml_locked("correct horse", &mut rng()).unwrap();
    for secret in [DEVICE_SEED, VAULT_SECRET, IDENTITY] {
        assert!(!text.contains(secret));
    }
    let locked = locked(&text);
    assert_eq!((locked.role(), locked.remote()), (Role::Full, file.remote.as_ref()));
    assert_eq!(locked.unlock("correct horse").unwrap(), file);
    let wrong = KeyFileError::Passphrase(PassphraseError::Wrong);
    assert_eq!(locked.unlock("correct house").unwrap_err(), wrong);
    let empty = file.to_toml_locked("", &mut rng()).unwrap_err();
    assert_eq!(empty, KeyFileError::Passphrase(PassphraseError::Empty));
}

/// A key file that Python locked by FORMAT 11 unlocks.
#[test]
fn key_file_locked_by_python_unlocks() {
    let file = locked(&locked_by_another_program()).unlock("correct horse battery staple").unwrap();
    assert_eq!(hex::encode(file.device_seed().as_bytes()), DEVICE_SEED);
    assert_eq!(hex::encode(file.vault_secret().as_bytes()), VAULT_SECRET);
    assert_eq!(file.identity().unwrap().to_secret_string().as_str(), IDENTITY);
}

/// The role of a locked file is not under its passphrase, but it must fit what is.
#[test]
fn key_file_unlock_refuses_changed_role() {
    let text = locked_by_another_program().replace("role = \"full\"", "role = \"put\"");
    let verdict = locked(&text).unlock("correct horse battery staple");
    assert_eq!(verdict.unwrap_err(), KeyFileError::IdentityInPut);
}

/// Exported key files hold what their role needs; put and get ones export no other role.
#[test]
fn key_file_exports_hold_only_what_their_role_needs() {
    let mut full = KeyFile::generate(&mut rng());
    let invite = Invite {
        address: "zput://[::1]:7447".parse().unwrap(),
        server_key: SERVER_KEY.parse().unwrap(),
        secret: InviteSecret::from_bytes([7; 32]),
    };
    full.accept(&invite);
    let own = full.device_seed().writer_key().public_key();
    let mut rng = StdRng::seed_from_u64(2);

    let put = full.export(Role::Put, &mut rng).unwrap();
    assert_eq!((put.role(), put.identity()), (Role::Put, None));
    assert_eq!((&put.recipients, put.writers.len()), (&full.recipients, 0));

    let get = full.export(Role::Get, &mut rng).unwrap();
    assert_eq!((get.role(), get.identity()), (Role::Get, full.identity()));
    assert_eq!((get.recipients.len(), &get.writers), (0, &vec![own]));

    let second = full.export(Role::Full, &mut rng).unwrap();
    assert_eq!((second.role(), second.identity()), (Role::Full, full.identity()));
    assert_eq!((&second.recipients, second.writers.len()), (&full.recipients, 0));

    for export in [&put, &get, &second] {
        assert_eq!(export.vault_secret(), full.vault_secret());
        assert_ne!(export.device_seed(), full.device_seed());
        assert_eq!((&export.remote, export.server_key), (&full.remote, full.server_key));
        let text = export.to_toml().unwrap();
        assert_eq!(&open(&text), export);
        assert_eq!(text.contains("\nidentity = "), export.role() != Role::Put);
    }

    for (from, to) in [(&put, Role::Full), (&put, Role::Get), (&get, Role::Full), (&get, Role::Put)]
    {
        let error = KeyFileError::Export { from: from.role(), to };
        assert_eq!(from.export(to, &mut rng).unwrap_err(), error);
    }
    let another = get.export(Role::Get, &mut rng).unwrap();
    assert_eq!(another.writers, [own], "a reader does not pin itself");
    assert!(put.export(Role::Put, &mut rng).is_ok());
}

/// A key file with 32 recipients is written; one with 33 is refused.
#[test]
fn key_file_has_at_most_32_recipients() {
    let mut file = KeyFile::from_identity(IDENTITY.parse().unwrap(), &mut rng());
    assert_eq!(file.recipients[0].to_string(), RECIPIENT);
    let mut rng = rng();
    for _ in 1..32 {
        file.recipients.push(Identity::generate_x25519(&mut rng).to_recipient());
    }
    assert_eq!(open(&file.to_toml().unwrap()).recipients.len(), 32);
    file.recipients.push(Identity::generate_x25519(&mut rng).to_recipient());
    assert_eq!(file.to_toml().unwrap_err(), KeyFileError::TooManyRecipients);
}

/// Each case changes one thing in a file that is otherwise read.
#[test]
fn key_file_parse_refuses_each_broken_rule() {
    let field = |field, reason: &str| KeyFileError::Field { field, reason: reason.into() };
    let good = written_by_hand();
    let line = |start: &str| good.lines().find(|line| line.trim().starts_with(start)).unwrap();
    let cases = [
        ("format = 1", "format = 2", KeyFileError::Format(2)),
        ("\"full\"", "\"put\"", KeyFileError::IdentityInPut),
        ("\"full\"", "\"Full\"", field("role", "it is none of full, get and put")),
        (line("identity"), "", KeyFileError::NoIdentity(Role::Full)),
        (line("recipients"), "recipients = []", KeyFileError::NoRecipients(Role::Full)),
        (line("recipients"), "", KeyFileError::NoRecipients(Role::Full)),
        (line("server_key"), "", KeyFileError::NoServerKey),
        (line("device_seed"), "", KeyFileError::Missing("device_seed")),
        (line("vault_secret"), "", KeyFileError::Missing("vault_secret")),
        ("\"sealed\"", "\"hidden\"", field("names", "it is neither sealed nor clear")),
        ("names = ", "mode = \"http\"\nnames = ", field("mode", "it is neither tls nor plaintext")),
        (
            "zput://example.org:7447",
            "zput://example.org:7447/",
            field(
                "remote",
                "a remote has no slash at its end: zput://HOST:PORT or zput://HOST:PORT/MOUNT",
            ),
        ),
        (
            SERVER_KEY,
            &SERVER_KEY[1..],
            field("server_key", "a public key is written as 64 lower-case hex digits"),
        ),
        (
            DEVICE_SEED,
            &DEVICE_SEED[2..],
            field("device_seed", "it is not 64 lower-case hex digits"),
        ),
        (
            VAULT_SECRET,
            &VAULT_SECRET.to_uppercase(),
            field("vault_secret", "it is not 64 lower-case hex digits"),
        ),
        (
            "GFPQ4EGAEX",
            "GFPQ4EGAEQ",
            field(
                "identity",
                "not an age identity: its checksum does not match: it was mistyped or cut short",
            ),
        ),
        (
            RECIPIENT,
            "ssh-ed25519 AAAA",
            field(
                "recipients",
                "not an age recipient of a known type: those begin with \"age1\" or \"age1pq1\"",
            ),
        ),
        (
            "names = ",
            "writers = [\"00\"]\nnames = ",
            field("writers", "a public key is written as 64 lower-case hex digits"),
        ),
    ];
    open(&good);
    for (from, to, error) in cases {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        assert_eq!(KeyFile::parse(&text), Err(error), "{from} -> {to}");
    }
    assert_eq!(KeyFile::parse(&"#".repeat(65_537)), Err(KeyFileError::TooLong(65_537)));
}

/// Parsing refuses unknown, missing, doubled and mistyped fields and names the line.
#[test]
fn key_file_parse_names_line_of_unknown_or_missing_field() {
    let good = written_by_hand();
    for (from, to, expected_line, part) in [
        ("names = ", "colour = \"red\"\nnames = ", 6, "unknown field `colour`"),
        ("role = \"full\"", "", 1, "missing field `role`"),
        ("names = \"sealed\"", "", 1, "missing field `names`"),
        ("format = 1", "", 1, "missing field `format`"),
        ("names = ", "role = \"get\"\nnames = ", 6, "duplicate key"),
        ("names = \"sealed\"", "names = 7", 6, "expected text in quotes"),
    ] {
        let text = good.replacen(from, to, 1);
        match KeyFile::parse(&text) {
            Err(KeyFileError::Toml { line, message }) => {
                assert!(message.contains(part), "{message}");
                assert_eq!(line, expected_line, "{part}");
            }
            other => panic!("{part}: {other:?}"),
        }
    }
    let locked = locked_by_another_program();
    let text = locked.replacen("passes", "colour = 1\npasses", 1);
    let error = KeyFile::parse(&text).unwrap_err();
    assert!(error.to_string().contains("unknown field `colour`"), "{error}");
}

/// serde's own words for a value of another type repeat the value.
#[test]
fn key_file_error_does_not_repeat_unquoted_secret() {
    let quoted = format!("\"{DEVICE_SEED}\"");
    for value in
        ["2021222324252627", "20212223.24252627", "[2021222324252627]", "true", "2021-12-31"]
    {
        let text = written_by_hand().replacen(&quoted, value, 1);
        let error = KeyFile::parse(&text).unwrap_err();
        assert!(matches!(error, KeyFileError::Toml { line: 8, .. }), "{error}");
        assert!(!error.to_string().contains("2021"), "{error}");
    }
}

/// Parsing refuses a protected table with a wrong field or with secrets beside it.
#[test]
fn key_file_parse_refuses_malformed_protected_table() {
    let good = locked_by_another_program();
    let field = |field, reason: &str| KeyFileError::Field { field, reason: reason.into() };
    for (from, to, error) in [
        ("argon2id", "scrypt", field("protected.kdf", "it is not argon2id")),
        ("0e0f", "0e", field("protected.salt", "it is not 32 lower-case hex digits")),
        ("I947P", "I947P=", field("protected.sealed", "it is not unpadded base64")),
        ("names =", "identity = \"x\"\nnames =", KeyFileError::TwiceProtected),
        ("names =", "device_seed = \"x\"\nnames =", KeyFileError::TwiceProtected),
        ("names =", "vault_secret = \"x\"\nnames =", KeyFileError::TwiceProtected),
        (
            "recipients",
            "writers",
            field("writers", "a public key is written as 64 lower-case hex digits"),
        ),
        ("names =", "remote = \"unix:///run/zput\"\nnames =", KeyFileError::NoServerKey),
    ] {
        assert_eq!(KeyFile::parse(&good.replacen(from, to, 1)), Err(error), "{from} -> {to}");
    }
    // Before the passphrase is asked for.
    let greedy = KeyFile::parse(&good.replacen("65536", "1048577", 1));
    assert_eq!(greedy, Err(KeyFileError::Passphrase(PassphraseError::Cost)));
}

/// What cannot be read again is not written either.
#[test]
fn key_file_to_toml_refuses_invalid_remote() {
    let mut file = open(&written_by_hand());
    for remote in [
        Remote::Embedded("relative".into()),
        Remote::Unix("/a\nb".into()),
        tcp("a b", 1, ""),
        tcp("a", 0, ""),
    ] {
        file.remote = Some(remote);
        let error = file.to_toml().unwrap_err();
        assert!(matches!(error, KeyFileError::Field { field: "remote", .. }), "{error}");
    }
    file.remote = Some(Remote::Embedded(r#"/a "quoted" \ path"#.into()));
    file.server_key = None;
    assert_eq!(open(&file.to_toml().unwrap()), file);
}

/// The Debug text of a key file contains none of its secrets.
#[test]
fn key_file_debug_hides_secrets() {
    let shown = format!("{:?}", open(&written_by_hand()));
    for secret in [DEVICE_SEED, VAULT_SECRET, IDENTITY, "32, 33, 34", "0, 1, 2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

fn tcp(host: &str, port: u16, mount: &str) -> Remote {
    Remote::Tcp { host: host.to_owned(), port, mount: MountName::parse(mount).unwrap() }
}

fn remote() -> impl Strategy<Value = Remote> {
    prop_oneof![
        ("[a-z0-9.-]{1,30}", 1_u16..).prop_map(|(host, port)| tcp(&host, port, "")),
        ("[a-z]", "[^\\pC/.]{1,20}(/[^\\pC/.]{1,20}){0,3}")
            .prop_map(|(host, mount)| tcp(&host, 7447, &mount)),
        any::<u128>().prop_map(|ip| tcp(&core::net::Ipv6Addr::from(ip).to_string(), 1, "")),
        "/\\PC{0,40}".prop_map(Remote::Unix),
        "/\\PC{0,40}".prop_map(Remote::Embedded),
    ]
}

fn key_file() -> impl Strategy<Value = KeyFile> {
    let writers =
        prop::collection::vec(any::<[u8; 32]>().prop_map(WriterPublicKey::from_bytes), 0..4);
    let policy = (any::<bool>(), any::<bool>(), any::<[u8; 32]>());
    let role = prop::sample::select(vec![Role::Full, Role::Get, Role::Put]);
    (any::<u64>(), role, prop::option::of(remote()), policy, writers, 0_usize..3).prop_map(
        |(seed, role, remote, (plaintext, clear, server_key), writers, more)| {
            let mut rng = StdRng::seed_from_u64(seed);
            let full = KeyFile::from_identity(Identity::generate_x25519(&mut rng), &mut rng);
            let mut file = full.export(role, &mut rng).unwrap();
            file.remote = remote;
            file.server_key = Some(ServerPublicKey::from_bytes(server_key));
            file.mode = if plaintext { ModePolicy::Plaintext } else { ModePolicy::Tls };
            file.names = if clear { Names::Clear } else { Names::Sealed };
            file.writers = writers;
            for _ in 0..more {
                file.recipients.push(Identity::generate_hybrid(&mut rng).to_recipient());
            }
            file
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random key files are written and parse back to the same key files.
    #[test]
    fn key_file_round_trips_through_text(file in key_file()) {
        let text = file.to_toml().unwrap();
        prop_assert_eq!(KeyFile::parse(&text), Ok(ParsedKeyFile::Open(file)));
    }

    /// The parsers of key files, remotes and invites do not panic on random text.
    #[test]
    fn key_file_remote_and_invite_parsers_never_panic(text in "\\PC{0,200}") {
        let _ = KeyFile::parse(&text);
        let _ = text.parse::<Remote>();
        let _ = text.parse::<Invite>();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// One slip of the hand anywhere: no panic, and no error that repeats eight characters of a
    /// secret.
    #[test]
    fn key_file_errors_reveal_no_secret(
        at in any::<prop::sample::Index>(),
        slip in prop::sample::select(vec!["", "\"", "'", "\n", "=", "[", "\\", "x", "é", "#", "."]),
        remove in 0_usize..2,
    ) {
        let good = written_by_hand();
        let at = at.index(good.len());
        let text = format!("{}{slip}{}", &good[..at], &good[at + remove..]);
        if let Err(error) = KeyFile::parse(&text) {
            let shown = format!("{error} {error:?}");
            for secret in [DEVICE_SEED, VAULT_SECRET, &IDENTITY[16..]] {
                for start in 0..secret.len() - 8 {
                    let piece = &secret[start..start + 8];
                    prop_assert!(!shown.contains(piece), "{}", shown);
                }
            }
        }
    }
}
