//! A store that is being made when the power goes: the next start finishes it, whatever was left.

use fuser::Errno;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use zput_proto::{message::Condition, name::ObjectKey};
use zput_server::store::{Store, StoreError};
use zput_tests::{or_skip, seed};

use super::{
    disk::{Deed, Disk, Fault},
    mounted::Mounted,
    workload::{clock, put},
};

/// Changes and syncs at the end of making a store, among which every second cut comes.
const LAST_OPERATIONS: u64 = 16;

fn open(mounted: &Mounted) -> Result<Store, StoreError> {
    Store::open(&mounted.path().join("store"), clock())
}

/// A store whose creation a power cut interrupts is finished by the next start.
#[test]
fn store_creation_is_finished_after_power_cut() {
    let mounted = or_skip!(Mounted::new(Disk::default()));
    drop(open(&mounted).unwrap());
    let operations = mounted.disk().done();
    drop(mounted);
    let mut dice = StdRng::seed_from_u64(seed());
    let mut finished = 0;
    for number in 0..40 {
        let mounted = Mounted::new(Disk::default()).unwrap();
        let mut before_the_cut = operations;
        let mut sync_failed = false;
        if number > 0 && dice.random_bool(0.5) {
            // An earlier attempt ended somewhere, as a process that is killed does.
            let (deed, most) =
                [(Deed::Make, 14), (Deed::Name, 3), (Deed::Write, 6), (Deed::SyncDirectory, 9)]
                    [dice.random_range(0..4)];
            let nth = dice.random_range(1..most);
            mounted.disk().fail(Fault { deed, nth, errno: Errno::ENOMEM });
            let ended = open(&mounted);
            if mounted.disk().struck {
                assert!(ended.is_err(), "{deed:?} {nth}");
                sync_failed = matches!(deed, Deed::SyncDirectory);
            }
            mounted.disk().heal();
            before_the_cut = before_the_cut.saturating_sub(mounted.disk().done()).max(2);
        }
        // Often near the end, or a little too late.
        let earliest = match dice.random_bool(0.7) {
            true => before_the_cut.saturating_sub(LAST_OPERATIONS / 2).max(1),
            false => 1,
        };
        let nth = dice.random_range(earliest..=before_the_cut + LAST_OPERATIONS / 2);
        // The first is finished for certain.
        mounted.disk().cut_after(if number == 0 { operations + 1 } else { nth });
        let server_key = open(&mounted).ok().map(|store| store.server_key().public_key());
        let (left, _) = mounted.disk().after_cut(&mut dice);
        let story = mounted.disk().story();
        drop(mounted);

        let mounted = Mounted::new(left).unwrap();
        let store = open(&mounted).unwrap_or_else(|error| panic!("{error}{story}"));
        if let Some(server_key) = server_key {
            finished += 1;
            assert_eq!(store.server_key().public_key(), server_key, "{story}");
        }
        // STORE, "Suspicion": what says so may have gone with the power, with all that was not
        // synced.
        if store.fsync_failure().unwrap().is_some() {
            assert!(sync_failed, "{story}");
            assert!(store.clear_suspect(&mut ()).unwrap().unwrap().cleared, "{story}");
        }
        put(&store, &ObjectKey::new("a").unwrap(), Condition::Any, b"1").unwrap();
    }
    println!("{finished} of 40 were finished before the cut");
    assert!((1..40).contains(&finished));
}
