//! Promises 1, 2 and 4 where the power goes: at any operation, with any part of what was not
//! synced.
//!
//! Each cut is followed by the start of a store on what is left, by a look at every byte that was
//! acknowledged, and by more work and the next cut. With one caller a seed gives the same run
//! again.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use zput_server::store::{Page, Store};
use zput_tests::{or_skip, seed};

use super::{
    disk::{Disk, Honesty, Loss},
    mounted::Mounted,
    workload::{Broken, Caller, callers, clock, work},
};

/// Cuts in a row that one disk lives through.
const CUTS_EACH: u32 = 5;
/// Changes and syncs until a cut, at most.
const OPERATIONS_MAX: u64 = 400;
/// Cuts after which a disk that lies has to be found out.
const LIES_MAX: u32 = 200;

/// What many cuts came to.
#[derive(Debug, Default)]
struct Tally {
    cuts: u32,
    /// Those that came while a store was being opened.
    while_opening: u32,
    operations: u64,
    versions: usize,
    /// Uploads that were resumed, and slices of them that were there.
    resumed: (u32, u32),
    loss: Loss,
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, Default)]
struct Sabotage {
    honesty: Honesty,
    hasty: bool,
}

/// A disk with an empty store, all of it synced.
pub(crate) fn fresh() -> Result<Disk, String> {
    let mounted = Mounted::new(Disk::default())?;
    drop(Store::open(&mounted.path().join("store"), clock()).unwrap());
    let disk = mounted.disk().clone();
    // Whatever the store did not sync is gone, and must not be missed.
    Ok(disk.after_cut(&mut StdRng::seed_from_u64(0)).0)
}

/// One disk, cut again and again; `Err` as soon as a promise is broken.
fn live(
    mut disk: Disk,
    sabotage: Sabotage,
    dice: &mut StdRng,
    tally: &mut Tally,
) -> Result<(), Broken> {
    disk.honesty = sabotage.honesty;
    let count = if dice.random_bool(0.5) { 1 } else { 3 };
    let mut callers = callers(count, sabotage.hasty, dice);
    let mut story = String::new();
    for round in 0..=CUTS_EACH {
        let mounted = Mounted::new(disk).unwrap();
        // Some come while the store is being opened. What the last one left is looked at.
        if round < CUTS_EACH && dice.random_bool(0.1) {
            mounted.disk().cut_after(dice.random_range(1..4));
        }
        match Store::open(&mounted.path().join("store"), clock()) {
            _ if mounted.disk().is_dead() => tally.while_opening += 1,
            Ok(store) => {
                check(&store, &mut callers).map_err(|broken| broken.and(&story))?;
                if round == CUTS_EACH {
                    break;
                }
                mounted.disk().cut_after(dice.random_range(1..OPERATIONS_MAX));
                work(&store, &mounted, &mut callers).map_err(|broken| broken.and(&story))?;
            }
            Err(error) => {
                let broken = Broken::Kept(format!("it does not start any more: {error}"));
                return Err(broken.and(&story));
            }
        }
        let mut dead = mounted.disk();
        dead.kill();
        tally.cuts += 1;
        tally.operations += dead.done();
        let (left, loss) = dead.after_cut(dice);
        tally.loss.add(loss);
        story = format!("\nthe last operations before the cut:{}", dead.story());
        drop(dead);
        disk = left;
    }
    tally.versions += callers.iter().map(Caller::versions).sum::<usize>();
    for (uploads, slices) in callers.iter().map(Caller::resumed) {
        tally.resumed = (tally.resumed.0 + uploads, tally.resumed.1 + slices);
    }
    Ok(())
}

/// What is there is all that was acknowledged, and nothing else.
fn check(store: &Store, callers: &mut [Caller]) -> Result<(), Broken> {
    for caller in &mut *callers {
        caller.check(store)?;
    }
    let listed = store.list(None, 1000, true);
    let Page { entries, next, unreadable } =
        listed.map_err(|error| Broken::Kept(error.to_string()))?;
    let mut listed: Vec<_> = entries.into_iter().map(|entry| entry.key).collect();
    let mut expected: Vec<_> = callers.iter().flat_map(Caller::current_keys).cloned().collect();
    listed.sort();
    expected.sort();
    if next.is_some() || unreadable > 0 || listed != expected {
        return Err(Broken::Kept(format!("listed: {listed:?}\nexpected: {expected:?}")));
    }
    Ok(())
}

/// Cuts until there were `cuts`, or a promise is broken.
fn cut(cuts: u32, fresh: &Disk, sabotage: Sabotage, seed: u64) -> (Tally, Result<(), Broken>) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    while tally.cuts < cuts {
        let result = live(fresh.clone(), sabotage, &mut dice, &mut tally);
        if result.is_err() {
            return (tally, result);
        }
    }
    (tally, Ok(()))
}

fn nothing_acknowledged_is_lost(fresh: &Disk, cuts: u32) -> Tally {
    let (tally, result) = cut(cuts, fresh, Sabotage::default(), seed());
    println!("{tally:?}");
    if let Err(broken) = result {
        panic!("after {} cuts, {broken}", tally.cuts);
    }
    // They were cuts that took something, and there was something to take.
    assert!(tally.loss.writes_lost > 0 && tally.loss.entries_lost > 0, "{tally:?}");
    assert!(tally.versions > cuts as usize, "{tally:?}");
    tally
}

/// Promises 1, 2 and 4.
#[test]
fn power_cut_loses_nothing_acknowledged() {
    let fresh = or_skip!(fresh());
    let _tally = nothing_acknowledged_is_lost(&fresh, 40);
}

/// By hand: `cargo test -p zput-tests --test faults -- --ignored --nocapture five_hundred`
#[test]
#[ignore = "it takes minutes"]
fn power_cuts_five_hundred_lose_nothing_acknowledged() {
    let fresh = or_skip!(fresh());
    let Tally { cuts, loss, resumed, .. } = nothing_acknowledged_is_lost(&fresh, 500);
    assert!(resumed.0 > cuts / 5 && resumed.1 > cuts, "{resumed:?}");
    let Loss { writes_lost, writes_torn, writes_kept, entries_lost, entries_kept } = loss;
    let kinds = [writes_lost, writes_torn, writes_kept, entries_lost, entries_kept];
    assert!(kinds.iter().all(|kind| *kind >= u64::from(cuts) / 20), "{loss:?}");
}

/// The test finds out a disk that lies.
fn is_found_out(sabotage: Sabotage) {
    let fresh = or_skip!(fresh());
    let (tally, result) = cut(LIES_MAX, &fresh, sabotage, seed());
    let Err(broken) = result else { panic!("{sabotage:?}: not detected") };
    println!("{sabotage:?}: noticed after {} cuts, {broken}", tally.cuts);
    assert!(matches!(broken, Broken::Kept(_)), "it is noticed by what is there");
}

/// The power cut test fails on a disk that ignores the fsync of files.
#[test]
fn power_cut_test_detects_disk_that_ignores_file_fsync() {
    is_found_out(Sabotage { honesty: Honesty::NoFileSync, hasty: false });
}

/// The power cut test fails on a disk that ignores the fsync of directories.
#[test]
fn power_cut_test_detects_disk_that_ignores_directory_fsync() {
    is_found_out(Sabotage { honesty: Honesty::NoDirectorySync, hasty: false });
}

/// The power cut test fails on a disk whose fsync makes only the last write durable.
#[test]
fn power_cut_test_detects_record_on_disk_before_its_data() {
    is_found_out(Sabotage { honesty: Honesty::LastWriteOnly, hasty: false });
}

/// The power cut test fails if a put is acknowledged before its commit.
#[test]
fn power_cut_test_detects_acknowledgement_before_commit() {
    is_found_out(Sabotage { honesty: Honesty::Honest, hasty: true });
}
