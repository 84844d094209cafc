//! Two puts of one name from one machine at once: what is newer stays, and nobody takes it for a rollback.

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

use zput_tests::{Fate, Pattern, Ran, Way};

use crate::setting::{FILE, Setting};

/// How long somebody who need not wait has for a small put.
const BREATH: Duration = Duration::from_secs(2);

fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

/// Lets somebody do what need not wait.
fn give_time(child: &mut Child) {
    let begun = Instant::now();
    while begun.elapsed() < BREATH && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Versions of the file with this name.
fn versions(setting: &Setting, name: &str) -> usize {
    setting.home.run("zstat", ["--versions", name]).ok().text().lines().count()
}

#[test]
fn two_puts_of_one_name_do_not_share_a_journal() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    setting.line.plan([Fate::Hold(Way::Up, ends[1])]);
    let mut first = setting.spawn("zput", "0", &[FILE]);
    setting.line.wait_for(Way::Up, ends[1]);
    let ran = setting.zput(&["--resume", FILE]).ended(5);
    assert!(ran.stderr.contains("another put of this name is under way"), "{}", ran.stderr);
    let ran = setting.zput(&[FILE]).ok();
    assert_eq!(ran.stderr, "");
    first.kill().unwrap();
    first.wait().unwrap();
    setting.line.hang_up();
    // What is newer is there: the older one is not put on top of it.
    let ran = setting.put();
    let newer = "zput: file: something newer is there than what was interrupted: starting over\n";
    assert!(ran.stderr.ends_with(newer), "{}", ran.stderr);
    setting.is_stored(&bytes, 2);
}

#[test]
fn what_was_overtaken_is_sealed_again() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    for (retries, versions) in [("0", 1), ("5", 3)] {
        setting.line.plan([Fate::Hold(Way::Up, ends[1])]);
        let first = setting.spawn("zput", retries, &[FILE]);
        setting.line.wait_for(Way::Up, ends[1]);
        let _newer = setting.zput(&[FILE]).ok();
        setting.line.let_go();
        let first = ended(first);
        let overtaken = "another put of this name was finished meanwhile; nothing was stored";
        assert!(first.stderr.contains(overtaken), "{}", first.stderr);
        assert_eq!(first.code, Some(if retries == "0" { 5 } else { 0 }), "{}", first.stderr);
        setting.is_stored(&bytes, versions);
        let _forgotten = setting.line.talks();
    }
}

/// The second one is sealed later, and so is newer; it is not stored before the first one is, which has been sent but for a
/// byte.
#[test]
fn the_older_one_is_not_committed_behind_the_newer() {
    let setting = Setting::in_clear();
    let names = ["a", "b", "c"];
    for name in names {
        setting.home.write(name, &Pattern::bytes(1, 10_000));
    }
    // Alone; and by a lane, which has the last one under way.
    for files in [&names[2..], &names] {
        let _before = setting.line.talks();
        let _stored = setting.zput(files).ok();
        let whole = setting.line.talks()[0].up.len() as u64;
        setting.line.plan([Fate::Hold(Way::Up, whole - 1)]);
        let first = setting.spawn("zput", "0", files);
        setting.line.wait_for(Way::Up, whole - 1);
        let mut second = setting.spawn("zput", "0", files);
        give_time(&mut second);
        setting.line.let_go();
        assert_eq!((ended(first).ok().stderr, ended(second).ok().stderr), Default::default());
        for name in files {
            let got = setting.home.run("zget", ["-o", "-", name]).ok();
            assert!(got.stdout == setting.home.read(name));
        }
    }
    assert_eq!(names.map(|name| versions(&setting, name)), [3, 3, 6]);
}

/// The server has all of the first one but the word to commit it.
#[test]
fn a_lost_commit_is_not_made_good_behind_what_is_newer() {
    let setting = Setting::in_clear();
    setting.home.write("a", &Pattern::bytes(1, 3_000_000));
    let _stored = setting.zput(&["a"]).ok();
    let whole = setting.line.talks()[0].up.len() as u64;
    setting.line.plan([Fate::Hold(Way::Up, whole - 1)]);
    let first = setting.spawn("zput", "5", &["a"]);
    setting.line.wait_for(Way::Up, whole - 1);
    // Not on this line. It has its turn when the first one gives its own up, which waits for a moment before it asks.
    setting.home.turn_to(&format!("zput://{}", setting.server.address()));
    let mut second = setting.spawn("zput", "0", &["a"]);
    give_time(&mut second);
    setting.line.hang_up();
    let first = ended(first).ok();
    assert!(first.stderr.contains("again in"), "{}", first.stderr);
    assert_eq!(ended(second).ok().stderr, "");
    let got = setting.home.run("zget", ["-o", "-", "a"]).ok();
    assert!(got.stdout == setting.home.read("a"));
    assert_eq!(versions(&setting, "a"), 3);
}

/// Several names, several at a time, from several processes, over and over.
#[test]
fn nobody_is_kept_waiting_for_ever() {
    let setting = Setting::in_clear();
    let names: Vec<String> = (0..12).map(|n| format!("f{n:02}")).collect();
    for name in &names {
        setting.home.write(name, &Pattern::bytes(2, 3_000));
    }
    let forwards: Vec<&str> = names.iter().map(String::as_str).collect();
    let backwards: Vec<&str> = forwards.iter().rev().copied().collect();
    for _ in 0..8 {
        let puts =
            [&forwards, &backwards, &forwards].map(|files| setting.spawn("zput", "5", files));
        for put in puts {
            let _stored = ended(put).ok();
        }
        for name in &forwards {
            let _got = setting.home.run("zget", ["-o", "-", name]).ok();
        }
    }
    assert_eq!(versions(&setting, "f00"), 24);
}
