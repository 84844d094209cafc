//! Honest machines and an honest server whose clocks differ: no reader reports a rollback.

use zput::{ErrorKind, Silent};
use zput_proto::name::BlobName;
use zput_seal::keys::Role;

use crate::setting::{Setting, exit, name};

const NOW: u64 = 1_796_000_000_000_000_000;
const HOUR: u64 = 3_600_000_000_000;
/// 2099-01-01.
const FAR: u64 = 4_070_908_800_000_000_000;

/// Two machines and a reader, whose clocks differ from the server's by this many hours.
#[test]
fn generations_grow_across_machines_with_different_clocks() {
    let setting = Setting::at(NOW);
    let at = |hours: i64| NOW.saturating_add_signed(hours * HOUR as i64);
    let mut count = 0;
    for (first, second) in [(0, 1), (1, 0), (1, 1), (23, -23), (-23, 23), (-1, 1)] {
        for third in [0, 23, -23] {
            count += 1;
            let machine = |who: &str, hours| {
                let mut machine = setting.machine(&format!("{who} {count}"), at(hours));
                machine.name = BlobName::parse(&format!("doc {count}")).unwrap();
                machine
            };
            let (mut one, mut other) = (machine("one", first), machine("other", second));
            let mut reader = machine("reader", third);
            let mut last = 0;
            for round in 0..3_u8 {
                for (whose, writer) in [&mut one, &mut other].into_iter().enumerate() {
                    let bytes = [round, whose as u8];
                    let generation = writer.put(&bytes);
                    assert!(generation > last, "{first}, {second}: {generation} after {last}");
                    last = generation;
                    writer.gets(&bytes);
                    reader.gets(&bytes);
                }
            }
            // Also when the blob was removed in between.
            one.client.remove(&one.name).unwrap();
            assert!(other.put(b"after") > last);
            for machine in [&mut one, &mut other, &mut reader] {
                machine.gets(b"after");
            }
        }
    }
}

/// Both machines have seen the same generation, so both would choose the next one.
#[test]
fn put_with_stale_rollback_record_gets_its_own_generation() {
    let setting = Setting::at(NOW);
    setting.machine("ahead", NOW + HOUR).put(b"ahead");
    let (mut one, mut other) = (setting.machine("one", NOW), setting.machine("other", NOW));
    one.gets(b"ahead");
    other.gets(b"ahead");
    assert_eq!(one.put(b"one"), NOW + HOUR + 1);
    assert_eq!(other.put(b"other"), NOW + HOUR + 2);
    one.gets(b"other");
}

/// A put from a machine over a day ahead is refused, stores nothing and names the clock.
#[test]
fn put_with_clock_far_ahead_is_refused_and_stores_nothing() {
    let setting = Setting::at(NOW);
    let mut board = setting.machine("board", FAR);
    for far in [NOW + 25 * HOUR, FAR, u64::MAX - 1] {
        board.set_time(far);
        let error = board.try_put(b"from afar").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        let said = error.to_string();
        assert!(said.contains("says 2026-11-30T00:53:20Z"), "{said}");
        assert!(said.contains("set the clock that is wrong"), "{said}");
        assert_eq!(exit(board.try_get()), ErrorKind::NotFound);
    }
    let mut other = setting.machine("other", NOW);
    assert_eq!(other.put(b"here"), NOW);
    // Once its clock is set, it works again.
    board.set_time(NOW);
    assert_eq!(board.put(b"and there"), NOW + 1);
    other.gets(b"and there");
}

/// The blob was put while the server's clock was as wrong as the machine's. Later puts follow its
/// generation, and restoring an earlier version removes it for every reader.
#[test]
fn generation_far_ahead_is_not_recorded_by_readers() {
    let setting = Setting::at(FAR);
    let (mut owner, mut other) = (setting.machine("owner", NOW), setting.machine("other", NOW));
    let honest = owner.try_put(b"honest").unwrap().version;
    setting.machine("board", FAR + 2 * HOUR).put(b"from afar");
    for machine in [&mut owner, &mut other] {
        machine.gets(b"from afar");
    }
    owner.client.restore(&name(), honest, &Silent).unwrap();
    for machine in [&mut owner, &mut other] {
        machine.gets(b"honest");
    }
    // Both machines put, one after the other.
    for round in 0..2 {
        other.put(&[round, 1]);
        owner.gets(&[round, 1]);
        owner.put(&[round, 2]);
        other.gets(&[round, 2]);
    }
}

/// A reader that has seen the newest version does not take a restored earlier one for a rollback,
/// whatever the clocks say and whatever was removed meanwhile.
#[test]
fn restored_version_is_no_rollback_for_any_reader() {
    let setting = Setting::at(NOW);
    let (mut one, mut other) =
        (setting.machine("one", NOW - 2 * HOUR), setting.machine("other", NOW + HOUR));
    // Two full parts and a short one.
    let long: Vec<u8> = (0..34_000_000_u32).map(|i| (i / 251) as u8).collect();
    let first = one.try_put(&long).unwrap().version;
    other.put(b"second");
    one.gets(b"second");
    one.client.restore(&name(), first, &Silent).unwrap();
    for machine in [&mut one, &mut other] {
        machine.gets(&long);
    }
    other.put(b"third");
    other.client.remove(&name()).unwrap();
    // Beyond the newest version of all, which was removed.
    let again = one.client.restore(&name(), first, &Silent).unwrap();
    for machine in [&mut one, &mut other] {
        machine.gets(&long);
    }
    one.client.remove(&name()).unwrap();
    other.client.restore(&name(), again, &Silent).unwrap();
    for machine in [&mut one, &mut other] {
        machine.gets(&long);
    }
    one.put(b"fourth");
    other.gets(b"fourth");
}

/// A machine whose clock stands at 1970 still detects a rollback, and puts above the current
/// generation.
#[test]
fn machine_with_clock_at_1970_puts_above_and_detects_rollback() {
    let setting = Setting::at(NOW);
    let first = setting.machine("writer", NOW).try_put(b"first").unwrap().version;
    let mut board = setting.machine("board", NOW);
    board.gets(b"first");
    let mut other = setting.machine("other", NOW);
    other.put(b"second");
    board.gets(b"second");
    board.set_time(0);
    // A device that cannot seal lets the server restore the version unchanged.
    let put_only = setting.key_file.export(Role::Put, &mut rand::rng()).unwrap();
    let mut host = setting.machine_with("host", NOW, put_only);
    host.client.restore(&name(), first, &Silent).unwrap();
    let error = board.try_get().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains(" has been seen"), "{cause}");
    assert!(board.put(b"third") > NOW);
    other.gets(b"third");
}

/// A server whose clock was set back continues from the times of its versions.
#[test]
fn server_with_clock_set_back_accepts_later_generations() {
    let setting = Setting::at(NOW);
    let mut writer = setting.machine("writer", NOW);
    writer.put(b"first");
    setting.set_time(0);
    writer.set_time(NOW + HOUR);
    assert_eq!(writer.put(b"second"), NOW + HOUR);
    writer.gets(b"second");
}
