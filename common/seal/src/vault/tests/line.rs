//! Random lines of charters: each follows the one before, and opens for those that go on.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zput_proto::vault::{Follows, Recipients};

use super::*;

#[derive(Clone, Debug)]
enum Change {
    Note(u8, Role),
    Revoke(u8),
    Rotate,
    Further(u8),
    /// With the certificates that are kept, as `KEEPS` has them.
    Succeed(Handover, usize),
    Distrust(usize, usize),
}

/// Which of the noted certificates are kept: none, all, or every second one.
const KEEPS: [fn(usize) -> bool; 4] = [|_| false, |_| true, |at| at % 2 == 0, |at| at % 2 == 1];

fn change() -> impl Strategy<Value = Change> {
    let role = prop_oneof![Just(Role::Member), Just(Role::Get), Just(Role::Put), Just(Role::List)];
    let handover = prop_oneof![Just(Handover::Planned), Just(Handover::Theft)];
    prop_oneof![
        4 => (0..6_u8, role).prop_map(|(device, role)| Change::Note(device, role)),
        2 => (0..6_u8).prop_map(Change::Revoke),
        1 => Just(Change::Rotate),
        1 => (0..3_u8).prop_map(Change::Further),
        2 => (handover, 0..4_usize).prop_map(|(handover, keep)| Change::Succeed(handover, keep)),
        1 => (0..4_usize, 0..4_usize).prop_map(|(root, keep)| Change::Distrust(root, keep)),
    ]
}

/// What the line should be, kept by other means than charters.
#[derive(Default)]
struct Model {
    /// The roots, of which the last signs.
    roots: Vec<RootSecret>,
    /// The older roots whose wrap keys are known to nobody but their key files.
    trusted: BTreeSet<usize>,
    /// Certificates in the order in which they were noted, each with its device and root and
    /// whether its key file has a wrap key.
    noted: Vec<(CertificateDigest, u8, usize, bool)>,
    kept: BTreeSet<CertificateDigest>,
    revoked: BTreeSet<u8>,
    further: u8,
    epoch: u32,
    /// Of the charter in its epoch.
    serial: u64,
    /// The secret of each epoch, as a charter of it had it.
    secrets: BTreeMap<u32, EpochSecret>,
}

impl Model {
    /// Makes the changes in a draft; gives whether there was one that needs a new epoch.
    fn apply(&mut self, draft: &mut CharterDraft, changes: &[Change]) {
        let mut is_new = false;
        for change in changes {
            let last = self.roots.len() - 1;
            match change {
                Change::Note(device, role) if !self.revoked.contains(device) => {
                    let root = &self.roots[last];
                    let certificate = certify(root, last as u8, draft.vault(), 40 * device, *role);
                    let reads = matches!(role, Role::Member | Role::Get);
                    let noted = (certificate.digest(), *device, last, reads);
                    draft.note(certificate, *role, "label").unwrap();
                    if !self.noted.contains(&noted) {
                        self.noted.push(noted);
                    }
                }
                Change::Note(device, role) => {
                    let root = &self.roots[last];
                    let certificate = certify(root, last as u8, draft.vault(), 40 * device, *role);
                    assert!(draft.note(certificate, *role, "label").is_err());
                }
                Change::Revoke(device) => {
                    draft.revoke(super::device(40 * device), Epoch::new(0)).unwrap();
                    self.revoked.insert(*device);
                    is_new = true;
                }
                Change::Rotate => {
                    draft.begin_epoch();
                    is_new = true;
                }
                Change::Further(count) => {
                    let both = [0, 1].map(|epoch| golden_secret(epoch).identity().to_recipient());
                    draft.seal_also_for(&both[..usize::from(*count)]).unwrap();
                    is_new |= *count != self.further;
                    self.further = *count;
                }
                Change::Succeed(handover, keep) => {
                    let (root, keep) = (RootSecret::generate(&mut rng()), self.keep(*keep));
                    draft.succeed(&root, *handover, &keep).unwrap();
                    self.roots.push(root);
                    match handover {
                        Handover::Planned => {
                            self.trusted.insert(last);
                            self.kept.extend(keep);
                        }
                        Handover::Theft => self.distrust(last, keep),
                    }
                    is_new = true;
                }
                Change::Distrust(root, keep) if *root < last => {
                    let keep = self.keep(*keep);
                    draft.distrust(*root as u8, &keep).unwrap();
                    self.distrust(*root, keep);
                    is_new = true;
                }
                Change::Distrust(root, _) => {
                    assert!(draft.distrust(*root as u8, &BTreeSet::new()).is_err());
                }
            }
        }
        if is_new && !self.secrets.is_empty() {
            self.epoch += 1;
            self.serial = 0;
        }
        self.serial += 1;
    }

    fn keep(&self, which: usize) -> BTreeSet<CertificateDigest> {
        let noted = self.noted.iter().enumerate();
        noted.filter(|(at, _)| KEEPS[which](*at)).map(|(_, noted)| noted.0).collect()
    }

    /// All that the thief of a root knows or can have planted goes.
    fn distrust(&mut self, root: usize, keep: BTreeSet<CertificateDigest>) {
        self.trusted = self.trusted.split_off(&(root + 1));
        self.kept = keep;
        self.further = 0;
    }

    /// Whether a key file has an envelope, by its device and root.
    fn goes_on(&self, device: u8, root: usize) -> bool {
        let last = self.roots.len() - 1;
        let is_good = |digest| root == last || self.kept.contains(digest);
        (root == last || self.trusted.contains(&root))
            && !self.revoked.contains(&device)
            && self.noted.iter().any(|(digest, its_device, its_root, reads)| {
                (*its_device, *its_root, *reads) == (device, root, true) && is_good(digest)
            })
    }

    /// What is expected of a charter that was sealed with all that.
    fn check(&mut self, charter: &HeldCharter) {
        let last = self.roots.last().unwrap();
        let order = (charter.state().epoch(), charter.serial());
        assert_eq!(order, (Epoch::new(self.epoch), self.serial));
        let owner = Owner::open(charter, &last.owner_key()).unwrap();
        let vault = self.roots[0].signer().vault_id();
        let member_secret = self.roots[0].member_secret(&vault).unwrap();
        assert_eq!(owner.member_secret(), &member_secret);
        let members = Members::open(charter, &member_secret.charter_key()).unwrap();
        assert_eq!(members.recipients().len(), 1 + usize::from(self.further));
        assert_eq!(charter.state().fields().kept, self.kept);
        let secret = last.epoch(Epoch::new(self.epoch), charter.state().digest());
        assert_eq!(self.secrets.entry(self.epoch).or_insert_with(|| secret.clone()), &secret);
        let secrets: Vec<_> = self.secrets.values().cloned().collect();
        let mut reading = 0;
        for device in 0..6 {
            for (index, root) in self.roots.iter().enumerate() {
                let goes_on = self.goes_on(device, index);
                let secret = members.epoch_secret(&wrap_key(root, 40 * device));
                assert_eq!(secret.is_ok(), goes_on, "device {device} of root {index}");
                if let Ok(secret) = secret {
                    reading += 1;
                    let all: Vec<_> = members.epochs(secret).unwrap().iter().cloned().collect();
                    assert_eq!(all, secrets);
                }
            }
        }
        assert_eq!(members.envelopes(), reading);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Each charter of a line parses, follows the one before, and opens for the key files that go
    /// on, and for no other one.
    #[test]
    fn charters_of_random_line_follow_and_open_for_those_that_go_on(
        line in prop::collection::vec(prop::collection::vec(change(), 0..4), 1..6),
    ) {
        let mut model = Model { roots: vec![RootSecret::generate(&mut rng())], ..Model::default() };
        let mut known: Option<HeldCharter> = None;
        for (issued, changes) in (1..).zip(&line) {
            let root = model.roots.last().unwrap();
            let mut draft = match &known {
                None => CharterDraft::first(root, false, 1),
                Some(known) => CharterDraft::next(known, root, issued).unwrap(),
            };
            model.apply(&mut draft, changes);
            let sealed = draft.seal(&mut rng()).unwrap();
            let charter = HeldCharter::parse(sealed.as_bytes(), sealed.state().vault()).unwrap();
            model.check(&charter);
            if let Some(known) = known {
                prop_assert_eq!(charter.follows(&known, Recipients::Unread), Follows::Newer);
                prop_assert_eq!(known.follows(&charter, Recipients::Unread), Follows::Older);
            }
            known = Some(charter);
        }
    }
}
