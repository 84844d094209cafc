//! The disk as it was at each flush.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use zput_proto::{digest::Digest, message::Kind};
use zput_server::store::{Clock, Store};
use zput_tests::journal::{Subject, Wish};

use super::{
    guest::{OBJECTS, key},
    log::Log,
};

/// Fewer flushes than these are no proof of anything.
const POINTS_MIN: u32 = 200;

/// Builds the disk of each flush, and checks it.
///
/// # Panics
/// When a file system is not clean, or a store has not all that was acknowledged by then.
pub(crate) fn check(dir: &Path) {
    let journal = fs::read_to_string(dir.join("journal")).unwrap();
    let now = dir.join("now.img");
    fs::copy(dir.join("before.img"), &now).unwrap();
    let disk = OpenOptions::new().write(true).open(&now).unwrap();
    let (mut points, mut writes, mut acknowledged) = (0, 0, 0);
    for (number, entry) in (1u64..).zip(Log::open(&dir.join("writes.log"))) {
        // A flush is for what was written before it, not for what it comes with.
        if entry.is_flush {
            points += 1;
            acknowledged = point(dir, &journal, number);
        }
        if !entry.bytes.is_empty() {
            writes += 1;
            disk.write_all_at(&entry.bytes, entry.offset).unwrap();
        }
    }
    println!(
        "{points} flushes, {writes} writes: the file system was clean at each, and of the \
         {acknowledged} calls that were answered none was lost"
    );
    assert!(points >= POINTS_MIN && acknowledged > 50);
}

/// Checks the disk as it is when the log has `number` entries. Gives how many calls were answered
/// by then.
fn point(dir: &Path, journal: &str, number: u64) -> u32 {
    let (image, mounted) = (dir.join("check.img"), dir.join("mounted"));
    // Mounting writes: the journal of the file system is played back.
    fs::copy(dir.join("now.img"), &image).unwrap();
    fs::create_dir_all(&mounted).unwrap();
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
    let checked = store_is_right(&mounted.join("store"), journal, number);
    run(Command::new("umount").arg(&mounted));
    let acknowledged = checked.unwrap_or_else(|error| panic!("at entry {number}: {error}"));
    run(Command::new("e2fsck").args(["-f", "-n"]).arg(&image));
    acknowledged
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// What was acknowledged when the log had `number` entries is there, and of what was asked then all
/// or nothing.
fn store_is_right(path: &Path, journal: &str, number: u64) -> Result<u32, String> {
    let mut subjects: Vec<_> = (0..OBJECTS).map(|number| Subject::new(key(number))).collect();
    let mut acknowledged = 0;
    for line in journal.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let when: u64 = words[0].parse().unwrap();
        match words[1..] {
            // It was begun as soon as the answer before it was in the journal.
            ["ask", object, ref wish @ ..] => {
                subjects[object.parse::<usize>().unwrap()].wish(wished(wish));
            }
            ["done", object, version] if when <= number => {
                acknowledged += 1;
                subjects[object.parse::<usize>().unwrap()].granted(version.parse().unwrap());
            }
            ["open"] if when <= number => {}
            ["ready"] => {}
            _ => break,
        }
    }
    let store = Store::open(path, Clock::system()).map_err(|error| error.to_string())?;
    for subject in &mut subjects {
        subject.check(&store, false)?;
    }
    Ok(acknowledged)
}

fn wished(words: &[&str]) -> Wish {
    match words {
        ["delete"] => Wish::Delete,
        ["restore", version] => Wish::Restore(version.parse().unwrap()),
        [kind, length, content] => Wish::Put {
            kind: if *kind == "Sealed" { Kind::Sealed } else { Kind::Plain },
            length: length.parse().unwrap(),
            content: Digest::from_bytes(digest(content)),
        },
        other => panic!("{other:?}"),
    }
}

fn digest(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).unwrap();
    bytes
}
