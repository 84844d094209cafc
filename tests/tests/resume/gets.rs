//! Gets into a file, which leave what came and go on with it.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
};

use rustix::process::{Pid, Signal, kill_process};
use zput_tests::{Fate, Ran, Way, names, until};

use crate::setting::{FILE, LENGTH, PART, SEALED_PART, Setting, goes_on};

const STAYS: &str = "the partial file is kept; run the same command to resume";

/// A blob on a server; and how long a get's answer is in front of the parts.
fn stored() -> (Setting, Vec<u8>, u64) {
    let setting = Setting::in_clear();
    let bytes = setting.write(1);
    let _stored = setting.put();
    let _drained = setting.line.talks();
    let _got = setting.home.run("zget", ["-o", "-", FILE]).ok();
    let down = setting.line.talks()[0].down.len() as u64;
    // Four parts of 16 MiB, and one of 1,000,000 bytes in 62 chunks.
    let parts = 4 * SEALED_PART + 1_000_000 + 56 + 62 * 16;
    fs::remove_file(setting.home.file(FILE)).unwrap();
    (setting, bytes, down - parts)
}

/// The files in the working directory that are not what was asked for.
fn partials(setting: &Setting) -> Vec<String> {
    names(&setting.home.file(".")).into_iter().filter(|name| name != FILE).collect()
}

fn records(setting: &Setting) -> usize {
    names(&setting.home.path().join(".local/state/zput/gets")).len()
}

/// Gets, and cuts the connection after this many bytes from the server.
fn cut(setting: &Setting, at: u64) -> Ran {
    setting.line.plan([Fate::Cut(Way::Down, at)]);
    setting.home.run("zget", [FILE]).ended(5)
}

/// The file came, and nothing else is left.
#[track_caller]
fn is_there(setting: &Setting, bytes: &[u8]) {
    assert!(setting.home.read(FILE) == bytes);
    assert_eq!((partials(setting).len(), records(setting)), (0, 0));
    fs::remove_file(setting.home.file(FILE)).unwrap();
    setting.line.plan([]);
    let _forgotten = setting.line.talks();
}

/// A get that was cut resumes behind its last whole part and asks for no part again.
#[test]
fn zget_resumes_partial_download_after_cut() {
    let (setting, bytes, front) = stored();
    for (parts, more) in [(1, 0), (1, 1_000), (3, SEALED_PART - 1), (4, 0), (4, 1_000_000)] {
        let ran = cut(&setting, front + parts * SEALED_PART + more);
        let [partial] = &partials(&setting)[..] else { panic!("{:?}", partials(&setting)) };
        assert!(ran.stderr.contains(&format!("zget: file: {STAYS}\n")), "{}", ran.stderr);
        assert!(!ran.stderr.contains(".tmp"), "{}", ran.stderr);
        let mode = fs::metadata(setting.home.file(partial)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let _forgotten = setting.line.talks();
        let again = setting.home.run("zget", [FILE]).ok();
        assert_eq!(again.stderr, goes_on("zget", parts * PART));
        // What was there was not sent again.
        let came = setting.line.talks()[0].down.len() as u64;
        assert!(came < front + (5 - parts) * SEALED_PART, "{came} bytes came");
        is_there(&setting, &bytes);
    }
    // Before the first part is whole nothing stays.
    let ran = cut(&setting, front + SEALED_PART - 1);
    assert!(!ran.stderr.contains(STAYS), "{}", ran.stderr);
    assert_eq!(partials(&setting), [""; 0]);
    let again = setting.home.run("zget", [FILE]).ok();
    assert_eq!(again.stderr, "");
    is_there(&setting, &bytes);
}

/// One zget resumes by itself after cuts, into a file, a pipe and for a range.
#[test]
fn zget_resumes_by_itself_into_file_pipe_and_range() {
    let (setting, bytes, front) = stored();
    let fates = [1, 2, 1].map(|parts| Fate::Cut(Way::Down, front + parts * SEALED_PART + 5));
    setting.line.plan(fates);
    let ran = setting.persistently("zget", &["-o", "-", FILE]).ok();
    assert!(ran.stdout == bytes, "{} bytes came", ran.stdout.len());
    assert_eq!(ran.stderr.matches("retrying in").count(), 3, "{}", ran.stderr);
    setting.line.plan(fates);
    let ran = setting.persistently("zget", &[FILE]).ok();
    assert_eq!(ran.stderr.matches("retrying in").count(), 3, "{}", ran.stderr);
    is_there(&setting, &bytes);
    // A stretch that begins and ends inside of parts.
    let range = format!("{}-{}", PART - 5, 3 * PART + 4);
    setting.line.plan([Fate::Cut(Way::Down, front + 2 * SEALED_PART + 5)]);
    let ran = setting.persistently("zget", &["--range", &range, "-o", "-", FILE]).ok();
    let expected = &bytes[PART as usize - 5..=3 * PART as usize + 4];
    assert!(ran.stdout == expected, "{} bytes came", ran.stdout.len());
}

/// The version that was begun with is gone on with, whatever is put meanwhile; a later command
/// starts over.
#[test]
fn zget_starts_over_if_another_version_is_current() {
    let (setting, bytes, front) = stored();
    let _cut = cut(&setting, front + 2 * SEALED_PART);
    let newer = setting.write(2);
    setting.line.plan([]);
    let _stored = setting.put();
    fs::remove_file(setting.home.file(FILE)).unwrap();
    let before = partials(&setting);
    let ran = setting.home.run("zget", [FILE]).ok();
    assert_eq!((ran.stderr.as_str(), before.len()), ("", 1));
    is_there(&setting, &newer);
    // The same blob as an earlier version is the same blob.
    let versions = setting.home.run("zblob stat", ["--versions", FILE]).ok().text();
    let first = versions.lines().last().unwrap().split(' ').next().unwrap().to_owned();
    setting.line.plan([Fate::Cut(Way::Down, front + 2 * SEALED_PART)]);
    let _cut = setting.home.run("zget", ["--at", &first, FILE]).ended(5);
    let ran = setting.home.run("zget", ["--at", &first, FILE]).ok();
    assert_eq!(ran.stderr, goes_on("zget", 2 * PART));
    is_there(&setting, &bytes);
}

/// What it is, how it is done, and how many parts it leaves.
type Damage = (&'static str, fn(&File), u64);

/// What lies there is compared before it counts.
#[test]
fn zget_resumes_only_the_sound_parts_of_partial_download() {
    let (setting, bytes, front) = stored();
    let damages: [Damage; 4] = [
        ("the first byte", |file| file.write_all_at(&[0xa5; 8], 0).unwrap(), 0),
        ("in the second part", |file| file.write_all_at(&[0xa5; 8], PART + 9).unwrap(), 1),
        ("cut short", |file| file.set_len(2 * PART - 1).unwrap(), 1),
        ("made longer", |file| file.set_len(10 * PART).unwrap(), 3),
    ];
    for (what, damage, sound) in damages {
        let _cut = cut(&setting, front + 3 * SEALED_PART);
        let partial = setting.home.file(&partials(&setting)[0]);
        damage(&File::options().write(true).open(partial).unwrap());
        let ran = setting.home.run("zget", [FILE]).ok();
        let expected = if sound == 0 { String::new() } else { goes_on("zget", sound * PART) };
        assert_eq!(ran.stderr, expected, "{what}");
        is_there(&setting, &bytes);
    }
    // Another file in its place is no partial file, and is not touched.
    let _cut = cut(&setting, front + 3 * SEALED_PART);
    let partial = setting.home.file(&partials(&setting)[0]);
    fs::remove_file(&partial).unwrap();
    fs::write(&partial, b"mine").unwrap();
    let ran = setting.home.run("zget", [FILE]).ok();
    assert_eq!((ran.stderr.as_str(), fs::read(&partial).unwrap().as_slice()), ("", &b"mine"[..]));
    fs::remove_file(partial).unwrap();
    is_there(&setting, &bytes);
}

/// A get that SIGINT or SIGTERM interrupts keeps its whole parts and says so.
#[test]
fn zget_interrupted_by_signal_keeps_partial_download() {
    let (setting, bytes, front) = stored();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        setting.line.plan([Fate::Hold(Way::Down, front + 2 * SEALED_PART + 7)]);
        let get = setting.spawn("zget", "0", &[FILE]);
        let partial: fn(&Setting) -> Option<PathBuf> =
            |setting| partials(setting).first().map(|name| setting.home.file(name));
        until("two parts are written", || {
            partial(&setting).is_some_and(|p| fs::metadata(p).is_ok_and(|m| m.len() == 2 * PART))
        });
        // The row of the second part is written behind it.
        until("they are noted", || {
            let gets = setting.home.path().join(".local/state/zput/gets");
            let record = gets.join(&names(&gets)[0]);
            let path = partial(&setting).unwrap();
            let head = 140 + path.as_os_str().len() as u64;
            fs::metadata(record).unwrap().len() == head + 2 * 64
        });
        kill_process(Pid::from_child(&get), signal).unwrap();
        let ran = Ran::from(get.wait_with_output().unwrap()).ended(code);
        assert_eq!(ran.stderr, format!("zget: file: interrupted; {STAYS}\n"));
        setting.line.plan([]);
        let ran = setting.home.run("zget", [FILE]).ok();
        assert_eq!(ran.stderr, goes_on("zget", 2 * PART));
        is_there(&setting, &bytes);
    }
}

/// Two gets into one file share no partial download; the one left behind is resumed later.
#[test]
fn zget_beside_another_into_one_file_shares_nothing() {
    let (setting, bytes, front) = stored();
    setting.line.plan([Fate::Hold(Way::Down, front + 2 * SEALED_PART + 7)]);
    let mut first = setting.spawn("zget", "0", &[FILE]);
    setting.line.wait_for(Way::Down, front + 2 * SEALED_PART + 7);
    let ran = setting.home.run("zget", [FILE]).ok();
    assert_eq!(ran.stderr, "");
    assert!(setting.home.read(FILE) == bytes);
    first.kill().unwrap();
    first.wait().unwrap();
    // What the other one left is gone on with, and takes the place only of what may be replaced.
    setting.line.plan([]);
    let _exists = setting.home.run("zget", [FILE]).ended(10);
    let ran = setting.home.run("zget", ["--force", FILE]).ok();
    assert_eq!(ran.stderr, goes_on("zget", 2 * PART));
    is_there(&setting, &bytes);
}

/// Both zget --verify-only and zblob stat --verify check each part and write nothing.
#[test]
fn zget_verify_only_checks_every_part_and_writes_nothing() {
    let (setting, _, front) = stored();
    let before = names(&setting.home.file("."));
    setting.line.plan([Fate::Cut(Way::Down, front + 3 * SEALED_PART)]);
    let ran = setting.persistently("zget", &["--verify-only", "--json", FILE]).ok();
    assert_eq!(ran.stderr.matches("retrying in").count(), 1, "{}", ran.stderr);
    let line: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!((line["length"].as_u64(), line["output"].is_null()), (Some(LENGTH), true));
    let stat = setting.home.run("zblob stat", ["--verify", "--json", FILE]).ok().text();
    let stat: serde_json::Value = serde_json::from_str(&stat).unwrap();
    assert_eq!(stat["verified"].as_bool(), Some(true));
    let text = setting.home.run("zblob stat", ["--verify", FILE]).ok().text();
    assert!(text.ends_with("verified   every part\n"), "{text}");
    assert_eq!(names(&setting.home.file(".")), before);
    // A byte of the last part, on the server's disk.
    let objects = setting.server.store().join("objects");
    let object = names(&objects)
        .iter()
        .flat_map(|shard| {
            names(&objects.join(shard))
                .into_iter()
                .map(|n| objects.join(shard).join(n))
                .collect::<Vec<_>>()
        })
        .next()
        .unwrap();
    let file = File::options().read(true).write(true).open(object).unwrap();
    let (mut byte, at) = ([0], 4 * SEALED_PART + 500_000);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let _sound_until_then = setting.home.run("zblob stat", [FILE]).ok();
    for arguments in [&["zget", "--verify-only", FILE][..], &["zblob stat", "--verify", FILE]] {
        let ran = setting.home.run(arguments[0], &arguments[1..]).ended(8);
        assert_eq!((ran.text().as_str(), ran.stderr.lines().count()), ("", 1), "{}", ran.stderr);
        // It is asked for twice more, in case that the line did it.
        let ran = setting.persistently(arguments[0], &arguments[1..]).ended(8);
        assert_eq!((ran.text().as_str(), ran.stderr.lines().count()), ("", 3), "{}", ran.stderr);
    }
    assert_eq!(names(&setting.home.file(".")), before);
}
