//! Puts that the line, the machine or the server interrupts.

use std::{fs, os::unix::fs::PermissionsExt};

use zput_proto::message::{Request, Response};
use zput_tests::{Fate, Ran, Uploads, Way, assert_no_salt_has_two_ciphertexts, names, until};

use crate::setting::{FILE, LENGTH, PART, PARTS, SEALED_PART, Setting, goes_on};

/// Cuts a put after this many bytes in one direction, and puts again; returns the second output.
fn cut_and_put(setting: &Setting, bytes: &[u8], way: Way, cut: u64) -> String {
    setting.line.plan([Fate::Cut(way, cut)]);
    let _cut = setting.zput(&[FILE]).ended(5);
    // On a machine that is busy some of it may not have been written yet, and is sent again.
    setting.nobody_uploads();
    let again = setting.put();
    assert_no_salt_has_two_ciphertexts(&setting.line.talks(), PARTS);
    setting.is_stored(bytes, 1);
    setting.forget();
    again.stderr
}

/// A put that was cut between two parts resumes with the next part.
#[test]
fn zput_cut_between_parts_resumes_there() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    assert_eq!(ends.len(), 6, "five parts and a footer");
    let bytes = setting.write(1);
    for (parts, end) in (1..).zip(&ends[..5]) {
        let said = cut_and_put(&setting, &bytes, Way::Up, *end);
        assert!(said.ends_with(&goes_on("zput", (parts * PART).min(LENGTH))), "{parts}: {said}");
    }
}

/// A put that was cut inside a part resumes with that part; in the first it starts over.
#[test]
fn zput_cut_inside_a_part_resumes_before_it() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    // One byte before the end, in the middle, and behind the salt.
    for (parts, before) in [(1, 1), (2, SEALED_PART / 2), (3, SEALED_PART - 24)] {
        let said = cut_and_put(&setting, &bytes, Way::Up, ends[parts as usize] - before);
        assert!(said.ends_with(&goes_on("zput", parts * PART)), "{parts}, {before}: {said}");
    }
    // In the footer all parts are held.
    let said = cut_and_put(&setting, &bytes, Way::Up, ends[5] - 1);
    assert!(said.ends_with(&goes_on("zput", LENGTH)), "{said}");
    // In the first part, and in front of it, there is nothing.
    for cut in [ends[0] - 1, ends[0] - SEALED_PART, 100] {
        let said = cut_and_put(&setting, &bytes, Way::Up, cut);
        let nothing =
            "zput: file: the server kept nothing of the interrupted transfer: starting over\n";
        assert!(said.ends_with(nothing), "{cut}: {said}");
    }
}

/// A put that was cut resumes over TLS, also with a put-only key file.
#[test]
fn zput_resumes_over_tls_and_with_put_only_key_file() {
    let setting = Setting::over_tls();
    let (ends, ..) = {
        // The same frames, in records.
        let clear = Setting::in_clear();
        clear.ends()
    };
    let bytes = setting.write(1);
    let _exported =
        setting.home.run("zblob key", ["export", "--put-only", "-o", "backup.zkey"]).ok();
    // It joins where the server is, and then goes by the line.
    let key = setting.home.file("backup.zkey");
    let move_to = |from: &str, to: &str| {
        let text = fs::read_to_string(&key).unwrap();
        fs::write(&key, text.replace(from, to)).unwrap();
    };
    move_to(setting.line.address(), setting.server.address());
    let invite = setting.server.invite(&["--scopes", "put"]);
    let join = ["join", "--key", "backup.zkey"];
    let _joined = setting.home.run_with("zblob key", join, invite.as_bytes()).ok();
    move_to(setting.server.address(), setting.line.address());
    for arguments in [&[FILE][..], &["--key", "backup.zkey", FILE]] {
        // In the fourth part, as far as the handshake's length is known.
        setting.line.plan([Fate::Cut(Way::Up, ends[2] + SEALED_PART / 2)]);
        let _cut = setting.zput(arguments).ended(5);
        setting.nobody_uploads();
        let again = setting.persistently("zput", arguments).ok();
        assert!(again.stderr.ends_with(&goes_on("zput", 3 * PART)), "{}", again.stderr);
        setting.is_stored(&bytes, 1);
        setting.forget();
    }
}

/// One zput resumes after more cuts than --retries allows, as each makes progress.
#[test]
fn zput_resumes_by_itself_as_long_as_it_makes_progress() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    // Six times in a row, which is more often than it may fail without any progress.
    let begun = ends[0] - SEALED_PART;
    let further = |parts: u64| Fate::Cut(Way::Up, begun + SEALED_PART + parts * 10_000);
    let nowhere = Fate::Cut(Way::Up, 400);
    setting.line.plan([further(1), nowhere, further(2), nowhere, further(3), further(4)]);
    let ran = setting.home.command("zput").args(["--retries", "3", FILE]).output().unwrap();
    let ran = Ran::from(ran).ok();
    assert!(ran.stderr.matches("retrying in").count() >= 6, "{}", ran.stderr);
    assert!(ran.stderr.contains(&goes_on("zput", PART)), "{}", ran.stderr);
    let talks = setting.line.talks();
    assert!(talks.len() >= 7);
    assert_no_salt_has_two_ciphertexts(&talks, PARTS);
    setting.is_stored(&bytes, 1);
}

/// A put from a pipe has no journal: its upload is not kept, because no client will resume it.
#[test]
fn zput_of_stdin_cut_without_retries_leaves_nothing_on_server() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    setting.line.plan([Fate::Cut(Way::Up, ends[2] + 1000)]);
    let ran = setting.home.run_with("zput", ["--name", FILE, "-"], &bytes).ended(5);
    assert!(ran.stderr.contains("cannot be sent again"), "{}", ran.stderr);
    let staging = setting.server.store().join("staging");
    until("staging is empty", || names(&staging).is_empty());
}

/// Where the answer to the first request ends in a server's stream: behind its hello and the echo
/// (PROTOCOL 1 and 3).
fn first_answer_ends(down: &[u8]) -> u64 {
    let mut end = 10 + usize::from(u16::from_be_bytes([down[8], down[9]]));
    for _ in 0..2 {
        end += 4 + u32::from_be_bytes(*down[end..].first_chunk().unwrap()) as usize;
    }
    end as u64
}

/// What the server holds of a long put takes it a while to read: as long as it has not said how
/// much that is, nothing else is sealed in the place of it.
#[test]
fn zput_cut_before_held_answer_keeps_its_journal() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    let cut_behind_four_parts = || {
        setting.line.plan([Fate::Cut(Way::Up, ends[3])]);
        let _cut = setting.zput(&[FILE]).ended(5);
        setting.nobody_uploads();
        let _drained = setting.line.talks();
    };
    cut_behind_four_parts();
    let _stored = setting.put();
    let begun = first_answer_ends(&setting.line.talks().pop().unwrap().down);
    setting.forget();
    cut_behind_four_parts();
    for _ in 0..3 {
        setting.line.plan([Fate::Cut(Way::Down, begun + 2)]);
        let _cut = setting.zput(&[FILE]).ended(5);
        setting.nobody_uploads();
    }
    let said = setting.put().stderr;
    assert!(said.ends_with(&goes_on("zput", 4 * PART)), "{said}");
    assert_no_salt_has_two_ciphertexts(&setting.line.talks(), PARTS);
    setting.is_stored(&bytes, 1);
}

/// Whoever puts a file that is in the trash by now wants it stored.
#[test]
fn zput_after_lost_commit_and_rm_stores_again() {
    let setting = Setting::in_clear();
    let (_, _, down) = setting.ends();
    let bytes = setting.write(1);
    setting.line.plan([Fate::Cut(Way::Down, down - 1)]);
    let _lost = setting.zput(&[FILE]).ended(5);
    assert_eq!(setting.journals().len(), 1);
    let _removed = setting.home.run("zblob rm", [FILE]).ok();
    let said = setting.put().stderr;
    let gone = "zput: file: the interrupted transfer was stored, and its version was removed or \
                replaced since: starting over\n";
    assert!(said.ends_with(gone), "{said}");
    setting.is_stored(&bytes, 2);
}

/// A commit without an answer is looked up: it is neither reported as failed nor done twice.
#[test]
fn zput_finds_out_about_commit_with_lost_answer() {
    let setting = Setting::in_clear();
    let (_, _, down) = setting.ends();
    let bytes = setting.write(1);
    let stored = "zput: file: was already stored, as version ";
    for lost in [1, 8] {
        // By the same command.
        setting.line.plan([Fate::Cut(Way::Down, down - lost)]);
        let ran = setting.persistently("zput", &[FILE]).ok();
        assert!(ran.stderr.contains(stored), "{}", ran.stderr);
        setting.is_stored(&bytes, 1);
        setting.forget();
        // By another one, to which it has left its journal; also where the name may not be taken.
        for arguments in [&[FILE][..], &["--if-absent", FILE], &["--resume", FILE]] {
            setting.line.plan([Fate::Cut(Way::Down, down - lost)]);
            let ran = setting.zput(&[FILE]).ended(5);
            assert!(
                ran.stderr.contains("whether the server has carried out the request"),
                "{}",
                ran.stderr
            );
            let ran = setting.persistently("zput", arguments).ok();
            assert!(ran.stderr.contains(stored), "{}", ran.stderr);
            setting.is_stored(&bytes, 1);
            setting.forget();
        }
    }
}

/// A small file or command output whose Committed is lost is stored once.
#[test]
fn zput_without_journal_finds_out_about_commit_with_lost_answer() {
    let setting = Setting::in_clear();
    setting.home.write("small", b"a small file");
    let put = |arguments: &[&str]| setting.persistently("zput", arguments);
    let _first = put(&["small"]).ok();
    let down = setting.line.talks()[0].down.len() as u64;
    let sources: [(&str, &[&str]); 2] =
        [("small", &["small"]), ("exec", &["--name", "exec", "--exec", "--", "cat", "small"])];
    for (name, arguments) in sources {
        let _removed = setting.home.run("zblob rm", [name]);
        setting.forget();
        setting.line.plan([Fate::Cut(Way::Down, down - 1)]);
        let ran = put(arguments).ok();
        assert!(ran.stderr.contains("was already stored"), "{}", ran.stderr);
        let versions = setting.home.run("zblob stat", ["--versions", name]).ok().text();
        assert_eq!(versions.lines().count(), 1, "{versions}");
        assert_eq!(setting.home.run("zget", ["-o", "-", name]).ok().text(), "a small file");
    }
}

/// A put that was killed is resumed though the server still has its connection.
#[test]
fn zput_killed_is_resumed_while_server_still_waits_for_it() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    for (parts, at) in [(1, ends[0] + 1_000), (3, ends[2]), (3, ends[3] - 1)] {
        setting.line.plan([Fate::Hold(Way::Up, at)]);
        let mut put = setting.spawn("zput", "0", &[FILE]);
        setting.line.wait_for(Way::Up, at);
        setting.has_received(parts);
        put.kill().unwrap();
        put.wait().unwrap();
        // The server is not notified: it still has the old connection, and the new put takes over.
        let back = setting.zput(&["--resume", FILE]).ok();
        assert_eq!(back.stderr, goes_on("zput", parts * PART));
        setting.line.hang_up();
        assert_no_salt_has_two_ciphertexts(&setting.line.talks(), PARTS);
        setting.is_stored(&bytes, 1);
        setting.forget();
    }
}

/// A put resumes after its server was killed and restarted, by itself or when repeated.
#[test]
fn zput_resumes_after_server_was_killed_and_restarted() {
    let mut setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    for (parts, at) in [(1, ends[0] + 1_000), (4, ends[3])] {
        // The command fails, and the next one resumes.
        setting.line.plan([Fate::Hold(Way::Up, at)]);
        let put = setting.spawn("zput", "0", &[FILE]);
        setting.line.wait_for(Way::Up, at);
        setting.has_received(parts);
        setting.restart();
        setting.line.hang_up();
        let _failed = Ran::from(put.wait_with_output().unwrap()).ended(5);
        let again = setting.put();
        assert!(again.stderr.ends_with(&goes_on("zput", parts * PART)), "{}", again.stderr);
        setting.is_stored(&bytes, 1);
        setting.forget();
    }
    // The command sees to it alone.
    setting.line.plan([Fate::Hold(Way::Up, ends[1])]);
    let put = setting.spawn("zput", "5", &[FILE]);
    setting.line.wait_for(Way::Up, ends[1]);
    setting.restart();
    setting.line.hang_up();
    let ran = Ran::from(put.wait_with_output().unwrap()).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    setting.is_stored(&bytes, 1);
}

/// What is held is claimed and not sent again, and the journal holds it for the owner alone.
#[test]
fn zput_resumed_sends_no_held_slice_again() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    setting.line.plan([Fate::Cut(Way::Up, ends[2])]);
    let _cut = setting.zput(&[FILE]).ended(5);
    let [journal] = &setting.journals()[..] else { panic!("{:?}", setting.journals()) };
    let puts = setting.home.path().join(".local/state/zput/puts");
    let vault = puts.join(&names(&puts)[0]);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&puts), mode(&vault), mode(&vault.join(journal))), (0o700, 0o700, 0o600));
    let _forgotten = setting.line.talks();
    let _again = setting.put();
    let talks = setting.line.talks();
    let last = Uploads::of(talks.last().unwrap());
    assert!(matches!(last.requests[1], Request::Resume { .. }), "{:?}", last.requests);
    assert!(last.answers.contains(&Response::Held { slices: 3 }), "{:?}", last.answers);
    let sent: Vec<u64> = last.slices.iter().map(|slice| slice.number).collect();
    assert_eq!(sent, [3, 4, 5], "two parts and the footer");
    setting.is_stored(&bytes, 1);
}

/// With --resume zput needs a journal and a file; with --no-resume it sends all again.
#[test]
fn zput_obeys_resume_and_no_resume() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    let ran = setting.zput(&["--resume", FILE]).ended(4);
    let nothing = "zput: file: there is nothing to resume (without --resume it starts over)\n";
    assert_eq!(ran.stderr, nothing);
    setting.line.plan([Fate::Cut(Way::Up, ends[3])]);
    let _cut = setting.zput(&[FILE]).ended(5);
    let _begun = setting.line.talks();
    let ran = setting.persistently("zput", &["--no-resume", FILE]).ok();
    assert!(!ran.stderr.contains("resuming"), "{}", ran.stderr);
    let talks = setting.line.talks();
    let last = Uploads::of(talks.last().unwrap());
    assert_eq!(last.slices.len(), 6);
    setting.is_stored(&bytes, 1);
    // Streams have nothing to go on with, and say so.
    let _usage = setting.zput(&["--resume", "--name", "x", "-"]).ended(2);
    let _usage = setting.zput(&["--resume", "--exec", "--name", "x", "--", "true"]).ended(2);
    setting.line.plan([Fate::Cut(Way::Up, ends[1])]);
    let exec = ["--exec", "--name", "stream", "--", "cat", FILE];
    let ran = setting.home.run("zput", exec).ended(5);
    let lost = "; stdin and the output of a command cannot be sent again: run the command again\n";
    assert!(ran.stderr.ends_with(lost), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "it was not tried again: {}", ran.stderr);
}

/// What the server does not hold is in memory still.
#[test]
fn zput_exec_resumes_cut_upload_from_memory() {
    let setting = Setting::in_clear();
    let (ends, _, down) = setting.ends();
    let bytes = setting.write(1);
    let exec = ["--exec", "--name", FILE, "--", "cat", FILE];
    let begun = ends[0] - SEALED_PART;
    let fates = [
        // In the first part, of which nothing is kept; behind it; in a later one; in the footer;
        // before the answer.
        vec![Fate::Cut(Way::Up, begun + 1000)],
        vec![Fate::Cut(Way::Up, ends[0])],
        vec![
            Fate::Cut(Way::Up, ends[2] - 1000),
            Fate::Cut(Way::Up, 400),
            Fate::Cut(Way::Up, begun + 5000),
        ],
        vec![Fate::Cut(Way::Up, ends[5] - 1)],
        vec![Fate::Cut(Way::Down, down - 1)],
    ];
    for fates in fates {
        let connections = fates.len() + 1;
        setting.line.plan(fates.clone());
        let ran = setting.persistently("zput", &exec).ok();
        assert!(ran.stderr.contains("retrying in"), "{fates:?}: {}", ran.stderr);
        let talks = setting.line.talks();
        assert!(talks.len() >= connections, "{fates:?}: {}", talks.len());
        assert_no_salt_has_two_ciphertexts(&talks, PARTS);
        setting.is_stored(&bytes, 1);
        setting.forget();
    }
}
