//! Invites and accounts at a power loss: acknowledged joins are durable, no invite is spent twice.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use zput_proto::{
    keys::{DevicePublicKey, InviteSecret},
    message::Scopes,
};
use zput_server::store::{Store, StoreError};
use zput_tests::{or_skip, seed};

use super::{mounted::Mounted, power::fresh, workload::clock};

const CUTS: u32 = 60;
/// Changes and syncs until a cut, at most: about ten for an invite that is made and spent.
const OPERATIONS_MAX: u64 = 60;
const DEVICES: u8 = 3;
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KINDS: [Scopes; 4] = [Scopes::PUT, Scopes::GET, Scopes::LIST, Scopes::DELETE];
/// It joins with what should be spent, and with what should not.
const STRANGER: DevicePublicKey = DevicePublicKey::from_bytes([0xff; 32]);

/// What was answered.
struct Office {
    accounts: [Option<Scopes>; DEVICES as usize],
    unspent: Vec<(InviteSecret, Scopes)>,
    spent: Vec<InviteSecret>,
    /// An invite that was being spent when the power went, by this device.
    open: Option<(InviteSecret, Scopes, u8)>,
    joined: u32,
    dice: StdRng,
}

fn device(number: u8) -> DevicePublicKey {
    DevicePublicKey::from_bytes([number; 32])
}

fn both(before: Option<Scopes>, scopes: Scopes) -> Scopes {
    before.unwrap_or(Scopes::NONE).and(scopes)
}

impl Office {
    /// Makes an invite, or has one spent; `None` when that failed.
    fn act(&mut self, store: &Store) -> Option<()> {
        if self.unspent.is_empty() || self.dice.random_bool(0.4) {
            let scopes = KINDS[self.dice.random_range(0..KINDS.len())];
            self.unspent.push((store.create_invite(scopes, A_DAY).ok()?, scopes));
            return Some(());
        }
        let (secret, scopes) = self.unspent.swap_remove(0);
        let number = self.dice.random_range(0..DEVICES);
        let Ok(joined) = store.redeem_invite(&secret, &device(number), "machine") else {
            self.open = Some((secret, scopes, number));
            return None;
        };
        let account = &mut self.accounts[usize::from(number)];
        assert_eq!(joined, both(*account, scopes));
        *account = Some(joined);
        self.joined += 1;
        self.spent.push(secret);
        Some(())
    }

    /// Compares what is there with what was answered.
    fn check(&mut self, store: &Store) {
        let taken = |secret: &InviteSecret| match store.redeem_invite(secret, &STRANGER, "stranger")
        {
            Ok(scopes) => Some(scopes),
            Err(StoreError::InviteUnknown) => None,
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(store.scopes_of(&STRANGER).unwrap(), None);
        for secret in &self.spent {
            assert_eq!(taken(secret), None, "an invite was spent twice");
        }
        let open = self.open.take();
        for number in 0..DEVICES {
            let account = &mut self.accounts[usize::from(number)];
            let now = store.scopes_of(&device(number)).unwrap();
            if now == *account {
                continue;
            }
            // It was not told; but then its invite is spent.
            let Some((secret, scopes, who)) = &open else { panic!("no join explains {now:?}") };
            assert_eq!((*who, now), (number, Some(both(*account, *scopes))));
            assert_eq!(taken(secret), None, "an invite counts and is not spent");
            *account = now;
        }
    }

    /// What was not spent is there.
    fn spend_all(&mut self, store: &Store) {
        for (secret, scopes) in self.unspent.drain(..) {
            let joined = store.redeem_invite(&secret, &STRANGER, "stranger").unwrap();
            assert!(joined.allows(scopes));
        }
    }
}

/// An acknowledged join survives power cuts, and no invite is redeemed twice.
#[test]
fn join_acknowledged_survives_power_cut() {
    let mut disk = or_skip!(fresh());
    let mut office = Office {
        accounts: [None; DEVICES as usize],
        unspent: Vec::new(),
        spent: Vec::new(),
        open: None,
        joined: 0,
        dice: StdRng::seed_from_u64(seed()),
    };
    for _ in 0..CUTS {
        let mounted = Mounted::new(disk).unwrap();
        let store = open(&mounted);
        office.check(&store);
        mounted.disk().cut_after(office.dice.random_range(1..OPERATIONS_MAX));
        while office.act(&store).is_some() {}
        assert!(mounted.disk().is_dead(), "it failed with the power on");
        disk = mounted.disk().after_cut(&mut office.dice).0;
    }
    let mounted = Mounted::new(disk).unwrap();
    let store = open(&mounted);
    office.check(&store);
    println!("{CUTS} cuts, {} joined, {} invites unspent", office.joined, office.unspent.len());
    office.spend_all(&store);
    assert!(office.joined > CUTS);
}

fn open(mounted: &Mounted) -> Store {
    Store::open(&mounted.path().join("store"), clock()).unwrap()
}
