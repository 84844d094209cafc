//! Several puts of one name at once: the newest stays, and no reader reports a rollback.

use std::{process::Child, thread, time::Duration};

use zput_tests::{Fate, Pattern, Ran, Way};

use crate::setting::{FILE, Setting};

/// How long a server has to do what it must not.
const BREATH: Duration = Duration::from_millis(500);

fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

/// A put of these files of which the server has all but the last byte of the last one; they were
/// put once before. Several are put by a lane.
fn delayed(files: &[&str], length: u64, retries: &str) -> (Setting, Child) {
    let setting = Setting::in_clear();
    for name in files {
        setting.home.write(name, Pattern::bytes(1, length));
    }
    let _stored = setting.zput(files).ok();
    let whole = setting.line.talks()[0].up.len() as u64;
    setting.line.plan([Fate::Hold(Way::Up, whole - 1)]);
    let first = setting.spawn("zput", retries, files);
    setting.line.wait_for(Way::Up, whole - 1);
    (setting, first)
}

/// So many versions are there, and the current one is no rollback.
#[track_caller]
fn is_sound(setting: &Setting, name: &str, versions: usize) {
    let got = setting.home.run("zget", ["-o", "-", name]).ok();
    assert!(got.stdout == setting.home.read(name));
    let listed = setting.home.run("zblob stat", ["--versions", name]).ok().text();
    assert_eq!(listed.lines().count(), versions, "{listed}");
}

/// Two puts of one name share no journal, and the older one does not replace the newer.
#[test]
fn zput_beside_another_of_one_name_shares_no_journal() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    setting.line.plan([Fate::Hold(Way::Up, ends[1])]);
    let mut first = setting.spawn("zput", "0", &[FILE]);
    setting.line.wait_for(Way::Up, ends[1]);
    let ran = setting.zput(&["--resume", FILE]).ended(5);
    assert!(ran.stderr.contains("another put of this name is in progress"), "{}", ran.stderr);
    let ran = setting.zput(&[FILE]).ok();
    assert_eq!(ran.stderr, "");
    first.kill().unwrap();
    first.wait().unwrap();
    setting.line.hang_up();
    // What is newer is there: the older one is not put on top of it.
    let ran = setting.put();
    let newer = "zput: file: there is a newer version than the interrupted one: starting over\n";
    assert!(ran.stderr.ends_with(newer), "{}", ran.stderr);
    setting.is_stored(&bytes, 2);
}

/// A put that another put of its name overtakes seals again and is stored above it.
#[test]
fn zput_overtaken_by_newer_put_seals_again() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    // At once, whether anything else is tried again or not: the server has said what it has to be
    // above.
    for (retries, versions) in [("0", 2), ("5", 4)] {
        setting.line.plan([Fate::Hold(Way::Up, ends[1])]);
        let first = setting.spawn("zput", retries, &[FILE]);
        setting.line.wait_for(Way::Up, ends[1]);
        let _newer = setting.zput(&[FILE]).ok();
        setting.line.let_go();
        let first = ended(first);
        assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
        setting.is_stored(&bytes, versions);
        let _forgotten = setting.line.talks();
    }
}

/// A commit that arrives after a newer put is refused, and zput seals again, also in a batch.
#[test]
fn zput_with_commit_behind_a_newer_put_seals_again() {
    for (files, retries) in
        [(&["a"][..], "0"), (&["a"], "5"), (&["b", "c", "a"], "0"), (&["b", "c", "a"], "5")]
    {
        let (setting, first) = delayed(files, 10_000, retries);
        assert_eq!(setting.zput(files).ok().stderr, "");
        setting.line.let_go();
        // It is sealed anew, above what is there.
        let _first = ended(first).ended(0);
        is_sound(&setting, "a", 3);
    }
}

/// Nor when its client has ended.
#[test]
fn commit_of_killed_zput_is_refused_behind_a_newer_put() {
    let (setting, mut first) = delayed(&["a"], 10_000, "0");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(setting.zput(&["a"]).ok().stderr, "");
    setting.line.let_go();
    thread::sleep(BREATH);
    is_sound(&setting, "a", 2);
}

/// Nor when the client that lost the answer looks the commit up.
#[test]
fn zput_with_lost_commit_behind_a_newer_put_seals_again() {
    let (setting, first) = delayed(&["a"], 3_000_000, "5");
    // On another line.
    setting.home.turn_to(&format!("zput://{}", setting.server.address()));
    assert_eq!(setting.zput(&["a"]).ok().stderr, "");
    setting.line.hang_up();
    let first = ended(first).ok();
    assert!(first.stderr.contains("retrying in"), "{}", first.stderr);
    is_sound(&setting, "a", 3);
}

/// Several names, several at a time, from several processes, over and over.
#[test]
fn concurrent_zputs_of_the_same_names_all_succeed() {
    let setting = Setting::in_clear();
    let names: Vec<String> = (0..12).map(|n| format!("f{n:02}")).collect();
    for name in &names {
        setting.home.write(name, Pattern::bytes(2, 3_000));
    }
    let forwards: Vec<&str> = names.iter().map(String::as_str).collect();
    let backwards: Vec<&str> = forwards.iter().rev().copied().collect();
    for round in 1..=4 {
        let puts =
            [&forwards, &backwards, &forwards].map(|files| setting.spawn("zput", "5", files));
        for put in puts {
            let _stored = ended(put).ok();
        }
        for name in &forwards {
            is_sound(&setting, name, 3 * round);
        }
    }
}
