//! Files that are not what they were when a put of them was interrupted.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt},
    time::SystemTime,
};

use zput_tests::{Fate, Pattern, Way, assert_no_salt_has_two_ciphertexts, names};

use crate::setting::{FILE, LENGTH, PART, PARTS, SEALED_PART, Setting, goes_on};

/// Behind how many parts the put is cut.
const HELD: usize = 3;

const STARTS_OVER: &str =
    "zput: file: the source has changed since the interruption: starting over\n";

struct Interrupted {
    setting: Setting,
    end: u64,
}

impl Interrupted {
    fn new() -> Self {
        let setting = Setting::in_clear();
        let (ends, ..) = setting.ends();
        Self { setting, end: ends[HELD - 1] }
    }

    /// Interrupts a put of seed 1, changes the file, and puts it; gives what was said.
    fn then(&self, change: impl FnOnce(&File)) -> String {
        let Self { setting, end } = self;
        setting.write(1);
        setting.line.plan([Fate::Cut(Way::Up, *end)]);
        let _cut = setting.zput(&[FILE]).ended(5);
        // One that is busy cannot be given up.
        setting.nobody_uploads();
        let path = setting.home.file(FILE);
        change(&File::options().read(true).write(true).open(&path).unwrap());
        let again = setting.put();
        assert_no_salt_has_two_ciphertexts(&setting.line.talks(), PARTS);
        setting.is_stored(&fs::read(path).unwrap(), 1);
        setting.forget();
        again.stderr
    }
}

fn modified(file: &File) -> SystemTime {
    file.metadata().unwrap().modified().unwrap()
}

/// An interrupted put starts over if its file was appended to or truncated.
#[test]
fn zput_starts_over_if_file_has_changed_its_length() {
    let interrupted = Interrupted::new();
    let append = |mut file: &File| {
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
        file.write_all(&[7; 100]).unwrap();
    };
    assert!(interrupted.then(append).ends_with(STARTS_OVER));
    for length in [LENGTH - 1, 2 * PART, PART + 1] {
        let said = interrupted.then(|file| file.set_len(length).unwrap());
        assert!(said.ends_with(STARTS_OVER), "{length}: {said}");
    }
    // Too short for a journal: nothing is left of the old one.
    for length in [PART - 1, 0] {
        let said = interrupted.then(|file| file.set_len(length).unwrap());
        assert!(!said.contains("resuming"), "{length}: {said}");
    }
}

/// An interrupted put starts over if its file has another inode, time or mode.
#[test]
fn zput_starts_over_if_file_was_replaced() {
    let interrupted = Interrupted::new();
    let home = &interrupted.setting.home;
    let said = interrupted.then(|old| {
        // Another inode, with the same time.
        home.write("other", Pattern::bytes(2, LENGTH));
        let other = File::options().write(true).open(home.file("other")).unwrap();
        other.set_modified(modified(old)).unwrap();
        fs::rename(home.file("other"), home.file(FILE)).unwrap();
    });
    assert!(said.ends_with(STARTS_OVER), "{said}");
    let said = interrupted.then(|file| file.set_modified(SystemTime::UNIX_EPOCH).unwrap());
    assert!(said.ends_with(STARTS_OVER), "{said}");
    let said = interrupted.then(|file| {
        file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    });
    assert!(said.ends_with(STARTS_OVER), "its mode is sealed with it: {said}");
}

/// Whoever sets the clock of a file back hides that it changed, but not what changed.
#[test]
fn zput_starts_over_if_held_part_changed_despite_same_mtime() {
    let interrupted = Interrupted::new();
    let flip = |at: u64| {
        move |file: &File| {
            let time = modified(file);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            file.set_modified(time).unwrap();
        }
    };
    for at in [0, 2 * PART, 3 * PART - 1] {
        let said = interrupted.then(flip(at));
        assert!(said.contains(STARTS_OVER), "byte {at}: {said}");
    }
    // What was not held is read now, and not what it was then.
    for at in [3 * PART, LENGTH - 1] {
        let said = interrupted.then(flip(at));
        assert!(said.ends_with(&goes_on("zput", 3 * PART)), "byte {at}: {said}");
    }
}

/// The one case in which other bytes are sealed under the same key as the same part: they get
/// another salt.
#[test]
fn zput_seals_half_sent_changed_part_under_another_salt() {
    let mut interrupted = Interrupted::new();
    interrupted.end += SEALED_PART / 2;
    let said = interrupted.then(|file| {
        let time = modified(file);
        file.write_all_at(&[0xa5; 64], 3 * PART + 100).unwrap();
        file.set_modified(time).unwrap();
    });
    assert!(said.ends_with(&goes_on("zput", 3 * PART)), "{said}");
}

/// An interrupted put starts over if --sha256, the suite or the recipients have changed.
#[test]
fn zput_starts_over_if_options_or_recipients_changed() {
    let interrupted = Interrupted::new();
    let setting = &interrupted.setting;
    let bytes = setting.write(1);
    let cut = |arguments: &[&str]| {
        setting.line.plan([Fate::Cut(Way::Up, interrupted.end)]);
        let _cut = setting.zput(arguments).ended(5);
    };
    for (first, second) in [
        (&[FILE][..], &["--sha256", FILE][..]),
        (&["--sha256", FILE], &[FILE]),
        (&[FILE], &["--suite", "chacha", FILE]),
    ] {
        cut(first);
        let insists = [&["--resume"], second].concat();
        let ran = setting.persistently("zput", &insists).ended(4);
        let why = "there is nothing to resume: the source has changed since the interruption (without --resume";
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        let ran = setting.persistently("zput", second).ok();
        assert!(ran.stderr.ends_with(STARTS_OVER), "{}", ran.stderr);
        setting.is_stored(&bytes, 1);
        setting.forget();
    }
    // For others than it was begun for.
    cut(&[FILE]);
    let key_file = setting.home.key_file();
    let text = fs::read_to_string(&key_file).unwrap();
    let _other = setting.home.run("zblob key", ["new", "--key", "other.zkey"]).ok();
    let other = fs::read_to_string(setting.home.file("other.zkey")).unwrap();
    let recipients = |text: &str| {
        let (_, behind) = text.split_once("recipients = [").unwrap();
        behind.split_once(']').unwrap().0.trim().trim_end_matches(',').to_owned()
    };
    let both = format!("{}, {}", recipients(&text), recipients(&other));
    fs::write(&key_file, text.replace(&recipients(&text), &both)).unwrap();
    let ran = setting.put();
    assert!(ran.stderr.ends_with(STARTS_OVER), "{}", ran.stderr);
    setting.is_stored(&bytes, 1);
}

/// A journal is found by its file's name, and what it is of is told by the header in it.
#[test]
fn put_journal_of_another_blob_is_not_resumed() {
    let setting = Setting::in_clear();
    let bytes = Pattern::bytes(1, 2 * PART);
    setting.home.write(FILE, &bytes);
    let puts = setting.home.path().join(".local/state/zput/puts");
    let cut = |name: &str| {
        // Behind the first part.
        setting.line.plan([Fate::Cut(Way::Up, SEALED_PART + PART / 2)]);
        let _cut = setting.zput(&["--name", name, FILE]).ended(5);
        setting.nobody_uploads();
        let journals = setting.journals();
        assert_eq!(journals.len(), 1, "{journals:?}");
        puts.join(&names(&puts)[0]).join(&journals[0])
    };
    let journal = cut("first");
    let ran = setting.persistently("zput", &["--name", "first", FILE]).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    fs::rename(cut("second"), journal).unwrap();
    setting.line.plan([]);
    let ran = setting.persistently("zput", &["--name", "first", FILE]).ok();
    let starts_over = STARTS_OVER.replace(FILE, "first");
    assert!(ran.stderr.ends_with(&starts_over), "{}", ran.stderr);
    assert!(setting.home.run("zget", ["-o", "-", "first"]).ok().stdout == bytes);
    let _nothing = setting.home.run("zget", ["-o", "-", "second"]).ended(4);
    assert_eq!(setting.journals(), [""; 0]);
}

/// The fact that was asked for is of all of it, also of what was sealed before.
#[test]
fn zput_sha256_after_resume_is_that_of_the_whole_file() {
    let interrupted = Interrupted::new();
    let setting = &interrupted.setting;
    let bytes = setting.write(1);
    setting.line.plan([Fate::Cut(Way::Up, interrupted.end)]);
    let _cut = setting.zput(&["--sha256", FILE]).ended(5);
    let ran = setting.persistently("zput", &["--sha256", FILE]).ok();
    assert!(ran.stderr.ends_with(&goes_on("zput", 3 * PART)), "{}", ran.stderr);
    let sum = std::process::Command::new("sha256sum").arg(setting.home.file(FILE)).output();
    let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
    let stat = setting.home.run("zblob stat", ["--verify", "--json", FILE]).ok().text();
    let stat: serde_json::Value = serde_json::from_str(&stat).unwrap();
    assert_eq!(stat["sha256"].as_str(), sum.split(' ').next());
    setting.is_stored(&bytes, 1);
}
