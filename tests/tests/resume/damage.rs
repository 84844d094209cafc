//! A line that changes bytes: one bit costs the part that it is in, and nothing else. TLS protects
//! what is said, not the parts and footers, which travel as they are (PROTOCOL 2): their digests
//! tell.

use std::fs;

use zput_cli::CommandError;
use zput_proto::message::{Request, Response};
use zput_tests::{
    Fate, Pattern, Uploads, Way, assert_no_salt_has_two_ciphertexts, frames, names, until,
};

use crate::{
    setting::{FILE, LENGTH, PART, PARTS, SEALED_PART, Setting, goes_on},
    silence::Impatient,
};

const DAMAGED: &str = "the bytes were damaged in transit to zput://";
const SUSPECT: &str = "; bytes were damaged 3 times in a row: the network";
const STAYS: &str = "the partial file is kept; run the same command to resume";

/// Waits until the server keeps an upload with this many parts.
fn is_kept(setting: &Setting, parts: u64) {
    setting.nobody_uploads();
    let staging = setting.server.store().join("staging");
    until("the parts that held are kept", || {
        names(&staging).iter().any(|name| {
            fs::metadata(staging.join(name)).is_ok_and(|file| {
                (parts * SEALED_PART..(parts + 1) * SEALED_PART).contains(&file.len())
            })
        })
    });
}

/// After a flipped bit zput resends the damaged part and those behind it, and no held one.
#[test]
fn zput_resends_from_the_damaged_part_on() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    // In the first part, in the third, and in the footer.
    for (at, held) in [(ends[0] - 9, 0), (ends[2] - SEALED_PART / 2, 2), (ends[5] - 1, 5)] {
        setting.line.plan([Fate::Flip(Way::Up, at)]);
        let ran = setting.persistently("zput", &[FILE]).ok();
        assert!(ran.stderr.contains(DAMAGED), "{}", ran.stderr);
        assert!(ran.stderr.contains("(retry 1 of 2)"), "{}", ran.stderr);
        let talks = setting.line.talks();
        // The server may say that it is busy: that it has not seen yet that the first one is gone.
        assert!(talks.len() >= 2);
        let last = Uploads::of(talks.last().unwrap());
        if held > 0 {
            assert!(
                ran.stderr.contains(&goes_on("zput", (held * PART).min(LENGTH))),
                "{}",
                ran.stderr
            );
            assert!(last.answers.contains(&Response::Held { slices: held as u32 }));
        }
        let sent: Vec<u64> = last.slices.iter().map(|slice| slice.number).collect();
        assert_eq!(sent, (held..6).collect::<Vec<_>>(), "{at}");
        assert_no_salt_has_two_ciphertexts(&talks, PARTS);
        setting.is_stored(&bytes, 1);
        setting.forget();
    }
}

/// On a line that damages each try zput gives up, and its upload can be resumed.
#[test]
fn zput_gives_up_on_damaging_line_and_keeps_its_journal() {
    let setting = Setting::over_tls();
    let (ends, ..) = Setting::in_clear().ends();
    let bytes = setting.write(1);
    // The handshake is a few kilobytes longer than what is said in clear: it is the third part all
    // the same.
    let third = ends[1] + SEALED_PART / 2;
    setting.line.plan([
        // That something is held now is progress; three times in a row it comes to nothing then.
        // One connection more is there to ask what became of a commit that was on its way already.
        Fate::Flip(Way::Up, third),
        Fate::Flip(Way::Up, 200_000),
        Fate::Flip(Way::Up, 200_000),
        Fate::Flip(Way::Up, 200_000),
        Fate::Flip(Way::Up, 200_000),
    ]);
    let ran = setting.persistently("zput", &[FILE]).ended(8);
    assert!(ran.stderr.contains(SUSPECT), "{}", ran.stderr);
    assert!(setting.line.talks().len() >= 4);
    assert_eq!(setting.journals().len(), 1);
    is_kept(&setting, 2);
    // So it is when nothing is to be tried again.
    setting.line.plan([Fate::Flip(Way::Up, 200_000)]);
    let ran = setting.zput(&[FILE]).ended(8);
    assert!(ran.stderr.contains(DAMAGED) && !ran.stderr.contains(SUSPECT), "{}", ran.stderr);
    is_kept(&setting, 2);
    let said = setting.put().stderr;
    assert!(said.ends_with(&goes_on("zput", 2 * PART)), "{said}");
    setting.is_stored(&bytes, 1);
}

/// After a flipped bit zget asks again for the damaged part, and for no verified one.
#[test]
fn zget_asks_again_from_the_damaged_part_on() {
    let setting = Setting::over_tls();
    let bytes = setting.write(1);
    let _stored = setting.put();
    let _drained = setting.line.talks();
    let _got = setting.home.run("zget", ["-o", "-", FILE]).ok();
    let down = setting.line.talks()[0].down.len() as u64;
    let parts = 4 * SEALED_PART + 1_000_000 + 56 + 62 * 16;
    let front = down - parts;
    let partials = || -> Vec<String> {
        names(&setting.home.file("."))
            .into_iter()
            .filter(|name| name.starts_with(".zput"))
            .collect()
    };
    // In a part, and in the footer, which comes before the parts.
    for (at, held) in [(front + 2 * SEALED_PART + 5, 2), (down - 1_000, 4), (front - 40, 0)] {
        for arguments in [&["-o", "-", FILE][..], &["-o", "got", FILE]] {
            setting.line.plan([Fate::Flip(Way::Down, at)]);
            let ran = setting.persistently("zget", arguments).ok();
            assert!(ran.stderr.contains("retrying in"), "{}", ran.stderr);
            let got = if arguments[1] == "-" { ran.stdout } else { setting.home.read("got") };
            assert!(got == bytes, "{at}");
            let talks = setting.line.talks();
            assert_eq!(talks.len(), 2, "{at}");
            let again = talks[1].down.len() as u64;
            assert!(again < down - held * SEALED_PART + 8_192, "{again} bytes came again");
            let _removed = fs::remove_file(setting.home.file("got"));
        }
        setting.line.plan([Fate::Flip(Way::Down, at)]);
        let _verified = setting.persistently("zget", &["--verify-only", FILE]).ok();
        setting.line.plan([Fate::Flip(Way::Down, front + SEALED_PART / 2)]);
        let ran = setting.persistently("zget", &["--range", "5-9", "-o", "-", FILE]).ok();
        assert!(ran.stdout == bytes[5..10]);
        let _drained = setting.line.talks();
    }
    // What was verified stays, and is gone on with.
    let at = front + 2 * SEALED_PART + 5;
    setting.line.plan([Fate::Flip(Way::Down, at)]);
    let ran = setting.home.run("zget", ["-o", "got", FILE]).ended(8);
    assert!(ran.stderr.contains(STAYS), "{}", ran.stderr);
    assert_eq!(partials().len(), 1);
    assert!(!setting.home.file("got").exists());
    setting.line.plan([
        Fate::Flip(Way::Down, 100_000),
        Fate::Flip(Way::Down, 100_000),
        Fate::Flip(Way::Down, 100_000),
    ]);
    let ran = setting.persistently("zget", &["-o", "got", FILE]);
    // A flip in the footer's place of the first answer, or in a part of one that goes on: never the
    // whole again.
    let ran = ran.ended(8);
    assert!(ran.stderr.contains(SUSPECT), "{}", ran.stderr);
    assert_eq!(partials().len(), 1);
    setting.line.plan([]);
    let again = setting.home.run("zget", ["-o", "got", FILE]).ok();
    assert_eq!(again.stderr, goes_on("zget", 2 * PART));
    assert!(setting.home.read("got") == bytes);
    assert_eq!(partials(), [""; 0]);
}

/// A bit in a TLS record: what is said is not believed, and said again on another connection.
#[test]
fn damaged_tls_record_makes_zput_and_zget_reconnect() {
    let setting = Setting::over_tls();
    setting.home.write("small", b"a small file");
    let _put = setting.persistently("zput", &["small"]).ok();
    let put = setting.line.talks().remove(0);
    let _got = setting.home.run("zget", ["-o", "-", "small"]).ok();
    let got = setting.line.talks().remove(0);
    let ends = [
        (Way::Up, put.up.len(), true),
        (Way::Down, put.down.len(), true),
        (Way::Down, got.down.len(), false),
    ];
    for (way, length, is_put) in ends {
        // In the last records, and in the part.
        for before in [30, 100, 300] {
            setting.line.plan([Fate::Flip(way, (length - before) as u64)]);
            if is_put {
                let _put = setting.persistently("zput", &["small"]).ok();
            } else {
                let ran = setting.persistently("zget", &["-o", "-", "small"]).ok();
                assert_eq!(ran.text(), "a small file");
            }
            let talks = setting.line.talks();
            assert!(talks.len() == 2, "{way:?} {before}: {} connections", talks.len());
        }
    }
}

/// Each small file is stored once although each connection has a bit flipped.
#[test]
fn zput_batch_stores_each_file_once_despite_flipped_bits() {
    let setting = Setting::in_clear();
    let files: Vec<String> = (0..12).map(|n| format!("f{n}")).collect();
    for file in &files {
        setting.home.write(file, file.repeat(1000).as_bytes());
    }
    // All lanes and the connection behind them: each has a bit flipped once, somewhere in its first
    // file.
    setting.line.plan([
        Fate::Flip(Way::Up, 3_000),
        Fate::Flip(Way::Up, 3_500),
        Fate::Flip(Way::Up, 4_000),
    ]);
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let _put = setting.persistently("zput", &names).ok();
    setting.line.plan([]);
    for file in &files {
        let got = setting.home.run("zget", ["-o", "-", file]).ok();
        assert_eq!(got.text(), file.repeat(1000));
        let versions = setting.home.run("zblob stat", ["--versions", file]).ok().text();
        assert_eq!(versions.lines().count(), 1, "{versions}");
    }
}

/// What can be read only once is sent again from memory.
#[test]
fn zput_exec_resends_damaged_slice_from_memory() {
    let setting = Setting::in_clear();
    let (ends, ..) = setting.ends();
    let bytes = setting.write(1);
    for (at, requests) in [(ends[0] - 9, 1), (ends[2] - 9, 1), (ends[5] - 1, 1)] {
        setting.line.plan([Fate::Flip(Way::Up, at)]);
        let mut command = setting.home.command("zput");
        command.args(["--name", FILE, "--exec", "--", "cat", FILE]).env_remove("ZPUT_RETRIES");
        let ran = zput_tests::Ran::from(command.output().unwrap()).ok();
        assert!(ran.stderr.contains(DAMAGED), "{}", ran.stderr);
        let talks = setting.line.talks();
        assert!(talks.len() >= 2);
        let last = Uploads::of(talks.last().unwrap());
        let resumed =
            last.requests.iter().filter(|request| matches!(request, Request::Resume { .. }));
        assert!(resumed.count() >= requests);
        assert_no_salt_has_two_ciphertexts(&talks, PARTS);
        setting.is_stored(&bytes, 1);
        setting.forget();
    }
}

/// Where nothing protects what is said, one bit of it makes another request or another answer of
/// it, and the put may fail as somebody else's would. What it was going on with stays, as far as
/// the server does not say that it has nothing.
#[test]
fn put_journal_survives_flipped_bits_of_messages() {
    let bytes = Pattern::bytes(1, PART + 1_000_000);
    let mut put = Impatient::of(Setting::in_clear());
    put.setting.home.write(FILE, &bytes);
    // Behind the first part.
    let _stored = put.try_put().unwrap();
    let first = Uploads::of(&put.setting.line.talks()[0]).slices[0].end;
    put.forget();
    let interrupt = |put: &mut Impatient| {
        put.setting.line.plan([Fate::Cut(Way::Up, first)]);
        put.client.set_retries(0, std::sync::Arc::new(|_| {}));
        let _cut = put.try_put().unwrap_err();
        put.setting.has_received(1);
        assert_eq!(put.setting.journals().len(), 1);
        put.setting.line.plan([]);
        let _drained = put.setting.line.talks();
    };
    interrupt(&mut put);
    let _stored = put.try_put().unwrap();
    let talk = put.setting.line.talks().pop().unwrap();
    assert!(Uploads::of(&talk).answers.contains(&Response::Held { slices: 1 }));
    put.forget();

    let mut failed = 0;
    for way in [Way::Up, Way::Down] {
        // Up: Resume, Claim, a part, the footer, Commit.
        let all = frames(&talk, way);
        assert_eq!(all.len(), 6);
        for frame in &all[1..] {
            // The end of its length, which message it is, and one of its fields.
            for at in [frame.start + 3, frame.start + 4, (frame.start + 5 + frame.end) / 2] {
                interrupt(&mut put);
                put.setting.line.plan([Fate::Flip(way, at.min(frame.end - 1))]);
                if let Err(error) = put.try_put() {
                    failed += 1;
                    assert_eq!(put.setting.journals().len(), 1, "{way:?} {at}: {error}");
                    put.setting.line.plan([]);
                    // What was committed by then, or is just being, is stored.
                    until("it is stored", || match put.try_put() {
                        Ok(_) => true,
                        Err(again) => {
                            let again = CommandError::from(again);
                            assert_eq!(again.code(), "busy", "{way:?} {at}: {error}; {again}");
                            false
                        }
                    });
                }
                assert_no_salt_has_two_ciphertexts(&put.setting.line.talks(), 2);
                put.is_stored(&bytes);
                put.forget();
            }
        }
    }
    assert!(failed > 15, "{failed}");
}
