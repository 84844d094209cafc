//! `zblob seal` and `zblob open` without a server.

use std::{fs, process::Command};

use zput_skip::or_skip;
use zput_testkit::Machine;

/// A machine with a key file.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    machine
}

/// A file is sealed and opened again, and existing outputs are kept unless forced.
#[test]
fn zblob_seal_and_zblob_open_round_trip_a_file() {
    let machine = machine();
    machine.write("a", "the plans");
    assert_eq!(machine.run_line("zblob seal a").ok().stderr, "");
    fs::remove_file(machine.file("a")).unwrap();
    machine.run_line("zblob open a.zput").ok();
    assert_eq!(machine.read("a"), b"the plans");
    machine.run_line("zblob open a.zput").ended(10);
    machine.run_line("zblob seal a").ended(10);
    machine.run_line("zblob open --force a.zput").ok();
    assert_eq!(machine.names(), ["a", "a.zput"]);
    fs::rename(machine.file("a.zput"), machine.file("b")).unwrap();
    machine.run_line("zblob open b").ended(2).says("-o PATH");
    assert_eq!(machine.run_line("zblob open -o - b").ok().stdout, b"the plans");
}

/// Bytes of all boundary lengths are sealed and opened through pipes.
#[test]
fn zblob_seal_and_zblob_open_round_trip_every_length_through_pipes() {
    let machine = machine();
    let part = 16 * 1024 * 1024;
    for length in [0, 1, 16_384, part - 1, part, part + 1, 2 * part + 77] {
        let bytes: Vec<u8> = (0..length as u32).map(|i| (i ^ i >> 9) as u8).collect();
        let sealed = machine.run_line_on(&bytes, "zblob seal --allow-empty -").ok().stdout;
        assert!(machine.run_line_on(&sealed, "zblob open -").ok().stdout == bytes, "{length}");
        machine.write("s", &sealed);
        assert!(machine.run_line("zblob open -o - s").ok().stdout == bytes, "{length} from a file");
    }
}

/// A damaged, cut or extended sealed file is an error and leaves no output.
#[test]
fn zblob_open_of_a_damaged_file_leaves_no_output() {
    let machine = machine();
    machine.write("a", vec![1; 20_000_000]);
    machine.run_line("zblob seal a").ok();
    let sealed = machine.read("a.zput");
    let last = sealed.len() - 1;
    for damage in [100, 30_000, 19_000_000, last - 60, last] {
        let mut damaged = sealed.clone();
        damaged[damage] ^= 1;
        machine.write("d", &damaged);
        let ran = machine.run_line("zblob open -o out d");
        assert!(matches!(ran.code, Some(7 | 8)), "{damage}: {:?} {}", ran.code, ran.stderr);
        assert_eq!(machine.names(), ["a", "a.zput", "d"], "{damage}");
    }
    for length in [0, 5, 13, 200, 5_000, last] {
        machine.write("d", &sealed[..length]);
        machine.run_line("zblob open -o out d").ended(8);
    }
    machine.write("d", [&sealed[..], b"x"].concat());
    machine.run_line("zblob open -o out d").ended(8);
    assert_eq!(machine.names(), ["a", "a.zput", "d"]);
}

/// A damaged or cut pipe is an integrity error, leaves no file and holds back a part.
#[test]
fn zblob_open_of_a_damaged_pipe_is_an_integrity_error() {
    let machine = machine();
    let sealed = machine.run_line_on(&vec![1; 40_000_000], "zblob seal -").ok().stdout;
    for length in [0, 5, 13, 200, 20_000_000, sealed.len() - 1] {
        machine.run_line_on(&sealed[..length], "zblob open -o out -").ended(8);
    }
    let mut damaged = sealed.clone();
    let footer = damaged.len() - 100;
    damaged[footer] ^= 1;
    machine.run_line_on(&damaged, "zblob open -o out -").ended(8);
    assert_eq!(machine.names(), [""; 0]);
    let ran = machine.run_line_on(&damaged, "zblob open -").ended(8);
    assert!(ran.stdout.len() < 40_000_000, "the last part is held back");
}

/// A blob of another vault does not open, and a bare one only with --bare.
#[test]
fn zblob_open_refuses_blobs_of_another_vault_and_bare_blobs() {
    let (one, two) = (machine(), machine());
    one.write("a", "1");
    one.run_line("zblob seal a").ok();
    two.write("a.zput", one.read("a.zput"));
    two.run_line("zblob open a.zput").ended(7).says("not sealed for any of these identities");
    // Sealed for the identity of machine two outside of its vault.
    let public = two.run_line("zblob key public --json").ok().json("recipients");
    let recipient = public[0].as_str().unwrap().to_owned();
    one.write("b", "forged");
    one.run_line(&format!("zblob seal -r {recipient} b")).ok().says("is not authenticated");
    two.write("b.zput", one.read("b.zput"));
    two.run_line("zblob open b.zput").ended(8).says("zblob open --bare opens such a blob");
    assert_eq!(two.names(), ["a.zput", "b.zput"]);
    two.run_line("zblob open --bare b.zput").ok();
    assert_eq!(two.read("b"), b"forged");
}

/// A blob opens with an identity file in the form of age-keygen.
#[test]
fn zblob_open_accepts_age_keygen_identity_files() {
    let machine = Machine::new();
    // The one-line identity of age-keygen, made by zput's own code.
    let identity = zput_seal::age::Identity::generate_x25519(&mut rand::rng());
    let recipient = identity.to_recipient().to_string();
    let text =
        format!("# created: now\n# public key: {recipient}\n{}\n", &*identity.to_secret_string());
    machine.write("key.txt", text);
    machine.write("a", "1");
    machine.run_line(&format!("zblob seal -r {recipient} a")).ok();
    assert_eq!(machine.run_line("zblob open -i key.txt -o - a.zput").ok().stdout, b"1");
    machine.run_line("zblob open -i a -o - a.zput").ended(7);
    machine.run_line("zblob open -i missing -o - a.zput").ended(1);
    machine.run_line("zblob seal -r age1rubbish a --force").ended(7);
    // A vault can be made around the same identity.
    machine.run_line("zblob key import --identity key.txt").ok();
    machine.run_line("zblob open -o - a.zput").ended(8);
    assert_eq!(machine.run_line("zblob open --bare -o - a.zput").ok().stdout, b"1");
}

/// With the installed `age-keygen`: its identity opens a blob.
#[test]
fn zblob_open_accepts_identity_of_installed_age_keygen() {
    let machine = Machine::new();
    let key = machine.file("key.txt");
    let made = Command::new("age-keygen").arg("-o").arg(&key).output();
    let made = or_skip!(made.map_err(|error| format!("age-keygen does not run: {error}")));
    assert!(made.status.success());
    let text = fs::read_to_string(&key).unwrap();
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    machine.write("a", "1");
    machine.run_line(&format!("zblob seal -r {recipient} a")).ok();
    assert_eq!(machine.run_line("zblob open -i key.txt -o - a.zput").ok().stdout, b"1");
}

/// The output of zblob open is named by the sealed file, not by the name in the blob.
#[test]
fn zblob_open_names_the_output_by_the_file_not_the_blob() {
    let machine = machine();
    machine.write("a", "1");
    machine.run_line("zblob seal --name deep/inside.txt a").ok();
    fs::rename(machine.file("a.zput"), machine.file("mine.zput")).unwrap();
    machine.run_line("zblob open mine.zput").ok();
    assert_eq!(machine.names(), ["a", "mine", "mine.zput"]);
}
