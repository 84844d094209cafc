//! What is put, got, listed, removed and restored in a store in the home.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::{Duration, UNIX_EPOCH},
};

use zput_testkit::{Machine, names};

use crate::support::{copy, files};

/// An existing output is kept with exit code 10 and replaced by --force.
#[test]
fn zget_keeps_existing_output_unless_forced() {
    let machine = Machine::new();
    machine.write("a", "new");
    machine.run_line("zput a").ok();
    machine.write("a", "old");
    machine.run_line("zget a").ended(10).says("a exists already (--force replaces it)");
    assert_eq!(machine.read("a"), b"old");
    machine.run_line("zget --force a").ok();
    assert_eq!(machine.read("a"), b"new");
    assert_eq!(machine.names(), ["a"]);
}

/// Commands on a missing blob or version fail with code 4 and leave no file.
#[test]
fn missing_blob_is_not_found_and_leaves_no_file() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    let store = machine.store();
    let expected = format!(
        "zget: b: not found on file://{} (zblob ls lists what is there)\n",
        store.display()
    );
    assert_eq!(machine.run_line("zget b").ended(4).stderr, expected);
    machine.run_line("zget --at 5 -o c a").ended(4);
    machine.run_line("zblob rm b").ended(4);
    machine.run_line("zblob stat b").ended(4);
    machine.run_line("zblob restore a 5").ended(4);
    assert_eq!(machine.names(), ["a"]);
}

/// Some failures of several give exit code 3 and a line for each.
#[test]
fn some_failures_of_several_exit_with_three() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.write("b", "2");
    let ran = machine.run_line("zput a missing b").ended(3).says("cannot read missing");
    assert!(ran.stderr.ends_with("zput: 1 of 3 failed\n"), "{}", ran.stderr);
    fs::create_dir(machine.file("out")).unwrap();
    let ran = machine.run_line("zget -o out/ a missing b other").ended(3);
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
    assert_eq!(names(&machine.file("out")), ["a", "b"]);
    machine.run_line("zblob rm a missing").ended(3);
    assert_eq!(machine.run_line("zblob ls").ok().text(), "b\n");
}

/// Blobs are named by --name and --prefix, and bad names have exit code 2.
#[test]
fn zput_names_blobs_by_name_and_prefix() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.write("b", "2");
    machine.run_line("zput --prefix x/y a b").ok();
    machine.run_line("zput --name plans/z a").ok();
    machine.run_line_on(b"piped", "zput --name pipe -").ok();
    assert_eq!(machine.run_line("zblob ls").ok().text(), "pipe\nplans/z\nx/y/a\nx/y/b\n");
    assert_eq!(machine.run_line("zblob ls x/").ok().text(), "x/y/a\nx/y/b\n");
    assert_eq!(machine.run_line("zget -o - pipe").ok().stdout, b"piped");
    machine.run_line_on(b"piped", "zput -").ended(2);
    machine.run_line("zput --name ../x a").ended(2);
    machine.run_line("zput").ended(2);
    machine.run_line("zget ../../etc/passwd").ended(2);
    machine.run_line("zget --no-such-flag a").ended(2);
}

/// A put with --if-absent keeps an existing blob and exits with 10.
#[test]
fn zput_if_absent_keeps_existing_blob() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput --if-absent a").ok();
    machine.write("a", "2");
    machine.run_line("zput --if-absent a").ended(10).says("exists already");
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"1");
    machine.run_line("zput a").ok();
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"2");
}

/// A put of a command that fails, dies or cannot start stores nothing.
#[test]
fn zput_exec_of_failing_command_stores_nothing() {
    let machine = Machine::new();
    let exec =
        |script: &str| machine.run("zput", ["--exec", "--name", "n", "--", "sh", "-c", script]);
    exec("echo dump").ok();
    exec("echo half; exit 3").ended(1).says("sh failed with exit status: 3; nothing was stored");
    exec("head -c 40000000 /dev/zero; exit 1").ended(1);
    exec("kill -9 $$").ended(1);
    machine.run_line("zput --exec --name n -- /nonexistent/program").ended(1).says("cannot run");
    assert_eq!(machine.run_line("zget -o - n").ok().stdout, b"dump\n");
    assert_eq!(names(&machine.store().join("staging")), [""; 0]);
    assert_eq!(machine.run_line("zblob stat --versions n").ok().text().lines().count(), 1);
}

/// A put of a file that changes while it is read stores nothing and exits with 5.
#[test]
fn zput_of_file_changed_while_read_stores_nothing() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    machine.write("big", vec![7; 300_000_000]);
    let mut child =
        machine.command("zput").arg("big").stderr(std::process::Stdio::piped()).spawn().unwrap();
    let file = File::options().append(true).open(machine.file("big")).unwrap();
    // For as long as it reads, whenever it began.
    for i in 0.. {
        file.set_modified(UNIX_EPOCH + Duration::from_secs(i)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("changed while it was read"));
    assert_eq!(machine.run_line("zblob ls").ok().text(), "a\n");
    assert_eq!(names(&machine.store().join("staging")), [""; 0]);
}

/// Otherwise the newest blob would have an older generation, which every reader refuses.
#[test]
fn zput_overtaken_by_a_newer_put_stores_nothing() {
    let machine = Machine::new();
    machine.write("a", "first");
    machine.run_line("zput --name n a").ok();
    // After its first part was read it is sealed as it was then.
    let script = "head -c 20000000 /dev/zero; while [ ! -e go ]; do sleep 0.01; done; echo slow";
    let slow = machine
        .command("zput")
        .args(["--exec", "--name", "n", "--", "sh", "-c", script])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while names(&machine.store().join("staging")).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    machine.write("a", "fast");
    machine.run_line("zput --name n a").ok();
    machine.write("go", "");
    let output = slow.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("the version under this name was sealed at")
    );
    assert_eq!(machine.run_line("zget -o - n").ok().stdout, b"fast");
    assert_eq!(names(&machine.store().join("staging")), [""; 0]);
}

/// A got file has the time and permission bits of the put file and no set-user-ID bit.
#[test]
fn zget_restores_mtime_and_mode_without_set_uid() {
    let machine = Machine::new();
    machine.write("a", "1");
    fs::set_permissions(machine.file("a"), fs::Permissions::from_mode(0o4751)).unwrap();
    File::options()
        .write(true)
        .open(machine.file("a"))
        .unwrap()
        .set_modified(UNIX_EPOCH + Duration::new(1_000_000_000, 123))
        .unwrap();
    machine.run_line("zput a").ok();
    machine.run_line("zget -o b a").ok();
    let metadata = fs::metadata(machine.file("b")).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o751);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 123));
    let listed = machine.run_line("zblob ls -l").ok().text();
    assert!(listed.starts_with("rwxr-x--x 1 2001-09-09T01:46:40Z a"), "{listed}");
}

/// Byte ranges across parts are exact and end with the blob; a later start is an error.
#[test]
fn zget_range_is_exact_and_ends_with_the_blob() {
    let machine = Machine::new();
    let bytes: Vec<u8> = (0..40_000_000u32).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
    machine.write("big", &bytes);
    machine.run_line("zput big").ok();
    for (range, expected) in [
        ("0-0", &bytes[..1]),
        ("0-1023", &bytes[..1024]),
        ("16777215-16777216", &bytes[16_777_215..16_777_217]),
        ("16777216-33554431", &bytes[16_777_216..33_554_432]),
        ("39999999-39999999", &bytes[39_999_999..]),
        ("39999000-", &bytes[39_999_000..]),
        ("5-39999999", &bytes[5..]),
        ("40000000-", b""),
        ("39999999-40000000", &bytes[39_999_999..]),
        ("39999000-18446744073709551614", &bytes[39_999_000..]),
    ] {
        let ran = machine.run_line(&format!("zget --range {range} -o - big")).ok();
        assert!(ran.stdout == expected, "{range}: {} bytes", ran.stdout.len());
    }
    machine
        .run_line("zget --range 40000001- -o x big")
        .ended(2)
        .says("the range begins at byte 40000001, counted from 0, and the blob has 40000000 bytes");
    machine.run_line("zget --range 5-4 -o x big").ended(2);
    assert_eq!(machine.names(), ["big"]);
}

/// An output may be a device or a directory, and a full device has exit code 9.
#[test]
fn zget_writes_to_devices_and_directories() {
    let machine = Machine::new();
    machine.write("a", "1");
    machine.run_line("zput --name x/a a").ok();
    machine.run_line("zget -o /dev/null x/a").ok();
    machine.run_line("zget -o /dev/full x/a").ended(9);
    fs::create_dir(machine.file("d")).unwrap();
    machine.run_line("zget -o d x/a").ok();
    assert_eq!(names(&machine.file("d")), ["a"]);
    assert_eq!(machine.names(), ["a", "d"]);
}

/// Removed and earlier versions are listed, can be got by version and be restored.
#[test]
fn zblob_restore_brings_back_removed_and_earlier_versions() {
    let machine = Machine::new();
    machine.write("a", "one");
    let first = machine.run_line("zput --json a").ok().json("version");
    let first = first.as_str().unwrap().to_owned();
    machine.write("a", "two");
    machine.run_line("zput a").ok();
    assert_eq!(machine.run_line(&format!("zget --at {first} -o - a")).ok().stdout, b"one");
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"two");
    let removed = machine.run_line("zblob rm --json a").ok().json("version");
    machine.run_line("zget -o - a").ended(4);
    let versions = machine.run_line("zblob stat --versions a").ok().text();
    assert!(versions.contains("trash") && versions.contains("history"), "{versions}");
    machine.run_line(&format!("zblob restore a {}", removed.as_str().unwrap())).ok();
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"two");
    // The user who restores an old version has decided so.
    machine.run_line(&format!("zblob restore a {first}")).ok();
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"one");
}

/// A store set back to an old copy is an integrity error until --allow-rollback is given.
#[test]
fn rollback_of_the_store_is_an_integrity_error_until_accepted() {
    let machine = Machine::new();
    machine.write("a", "one");
    machine.run_line("zput a").ok();
    let old = machine.file("old-store");
    copy(&machine.store(), &old);
    machine.write("a", "two");
    machine.run_line("zput a").ok();
    fs::remove_dir_all(machine.store()).unwrap();
    copy(&old, &machine.store());
    fs::remove_file(machine.file("a")).unwrap();

    machine.run_line("zget a").ended(8).says("--allow-rollback");
    machine.run_line("zget -o - a").ended(8);
    machine.run_line("zblob stat a").ended(8);
    assert_eq!(machine.names(), ["old-store"]);
    let versions = machine.run_line("zblob stat --versions --json a").ok();
    let version = versions.json("version");
    let at = format!("zget --at {} -o - a", version.as_str().unwrap());
    assert_eq!(machine.run_line(&at).ok().stdout, b"one");
    machine.run_line("zget -o - a").ended(8);
    assert_eq!(machine.run_line("zget --allow-rollback -o - a").ok().stdout, b"one");
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"one");
}

/// A get records the generation, so a machine that never puts detects a rollback.
#[test]
fn zget_records_generation_to_detect_rollback() {
    let machine = Machine::new();
    machine.write("a", "one");
    machine.run_line("zput a").ok();
    let old = machine.file("old-store");
    copy(&machine.store(), &old);
    machine.write("a", "two");
    machine.run_line("zput a").ok();
    fs::remove_dir_all(machine.path().join(".local/state/zput")).unwrap();
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"two");
    fs::remove_dir_all(machine.store()).unwrap();
    copy(&old, &machine.store());
    assert_eq!(machine.run_line("zget -o - a").ended(8).stdout, b"");
}

/// A put writes the rollback record, and a damaged record is an integrity error.
#[test]
fn zput_records_generation_and_damaged_record_is_an_error() {
    let machine = Machine::new();
    machine.write("a", "one");
    machine.run_line("zput a").ok();
    let seen = machine.path().join(".local/state/zput/seen");
    let records: Vec<_> = files(&seen).into_iter().filter(|path| !path.ends_with("lock")).collect();
    assert_eq!(records.len(), 1);
    fs::write(&records[0], "rubbish").unwrap();
    machine.run_line("zget -o - a").ended(8).says("cannot parse the rollback record");
    machine.run_line("zput a").ended(8);
}

/// A flipped bit in header, part or footer of a stored object is an error without output.
#[test]
fn damaged_object_in_the_store_yields_no_output() {
    let machine = Machine::new();
    machine.write("a", vec![1; 100_000]);
    machine.run_line("zput a").ok();
    let objects = files(&machine.store().join("objects"));
    assert_eq!(objects.len(), 1);
    let sound = fs::read(&objects[0]).unwrap();
    // Header, first chunk, last chunk of the part, footer.
    for offset in [20, 60, 3000, 50_000, 102_000] {
        let mut damaged = sound.clone();
        damaged[offset] ^= 1;
        fs::write(&objects[0], damaged).unwrap();
        let ran = machine.run_line("zget -o b a");
        assert!(matches!(ran.code, Some(1 | 7 | 8)), "{offset}: {:?} {}", ran.code, ran.stderr);
        assert_eq!(machine.names(), ["a"], "{offset}");
    }
    let mut damaged = sound.clone();
    damaged[50_000] ^= 1;
    fs::write(&objects[0], damaged).unwrap();
    let ran = machine.run_line("zget -o - a").ended(8);
    assert_eq!(ran.stdout, b"");
    // A reader that is gone does not hide this: its exit code is for output that was verified.
    machine.sh("{ zget -o - a; echo $? > code; } | true").ok().says("is corrupt");
    assert_eq!(machine.read("code"), b"8\n");
}

/// The JSON of put, get, list and stat agrees on version, generation and SHA-256.
#[test]
fn json_fields_agree_between_commands() {
    let machine = Machine::new();
    machine.write("a", "abc");
    let put = machine.run_line("zput --json --sha256 a").ok();
    assert_eq!(put.json("name"), "a");
    assert_eq!(put.json("length"), 3);
    let get = machine.run_line("zget --json -o b a").ok();
    assert_eq!(get.json("output"), "b");
    assert_eq!(get.json("version"), put.json("version"));
    let list = machine.run_line("zblob ls --json").ok();
    assert_eq!((list.json("name"), list.json("length")), ("a".into(), 3.into()));
    let stat = machine.run_line("zblob stat --json a").ok();
    assert_eq!(stat.json("generation"), put.json("generation"));
    // SHA-256("abc"), FIPS 180-2.
    assert_eq!(
        stat.json("sha256"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(stat.json("recipients"), 1);
    machine.run_line("zget --json -o - a").ended(2);
}

/// A blob put with either suite is got back.
#[test]
fn zput_suite_round_trips_with_either_cipher() {
    let machine = Machine::new();
    machine.write("a", vec![9; 70_000]);
    for suite in ["aes", "chacha"] {
        machine.run_line(&format!("zput --suite {suite} a")).ok();
        assert!(machine.run_line("zget -o - a").ok().stdout == vec![9; 70_000]);
    }
}

/// Objects put with --plaintext are got only with --plaintext, and are counted by zblob ls.
#[test]
fn plaintext_objects_are_separate_from_sealed_ones() {
    let machine = Machine::new();
    machine.write("a", "in the clear");
    machine.run_line("zput --plaintext a").ok();
    assert_eq!(machine.run_line("zget --plaintext -o - a").ok().stdout, b"in the clear");
    assert_eq!(machine.run_line("zget --plaintext --range 3-5 -o - a").ok().stdout, b"the");
    machine.run_line("zget -o - a").ended(1).says("--plaintext");
    machine.run_line("zblob ls").ok().says("1 more are not sealed");
    machine.run_line("zput a").ok();
    machine.run_line("zget --plaintext -o - a").ended(1);
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"in the clear");
}
