//! The derivations of format 2 against `derive-v2.txt`, which another implementation made.

use zput_proto::keys::SignatureLabel;
use zput_proto::vault::{Epoch, PrefixTag, StateDigest, VaultId};

use super::device_v2::DeviceSeed;
use super::epoch::EpochSecret;
use super::member::{MemberSecret, VaultMacMismatch};
use super::root::{NotFirstRoot, RootSecret};
use super::wrap::{WrapKey, WrapRoot};
use crate::age::Identity;
use crate::chunked::ChunkError;
use crate::tests::{FixedRng, GoldenFile};

fn root(golden: &GoldenFile, index: usize) -> RootSecret {
    RootSecret::from_bytes(golden.array(&format!("root_{index}")))
}

/// Each key that a root derives, and the id of its vault, have the golden file's bytes.
#[test]
fn root_secret_derives_golden_keys() {
    let golden = GoldenFile::derive();
    for index in [0, 1] {
        let root = root(&golden, index);
        let row = |name: &str| golden.text(&format!("{name}_{index}"));
        let signer = root.signer();
        assert_eq!(hex::encode(signer.0.to_bytes()), row("root_sign"));
        let public = golden.text(&format!("root_sign_{index}.public"));
        assert_eq!(hex::encode(signer.public_key().as_bytes()), public);
        assert_eq!(hex::encode(root.owner_key().0.as_bytes()), row("owner_key"));
        assert_eq!(hex::encode(root.kit_key().0.as_bytes()), row("kit_key"));
        assert_eq!(hex::encode(root.wrap_root().as_bytes()), row("wrap_root"));
    }
    let signer = root(&golden, 0).signer();
    assert_eq!(signer.vault_id().to_string(), golden.text("V"));
    // The type that all crates share makes the same id of the public key alone.
    assert_eq!(VaultId::of(&signer.public_key()).to_string(), golden.text("V"));
}

/// What a root signs is verified under its public key, and nothing else is.
#[test]
fn root_signer_signs_what_its_public_key_verifies() {
    let signer = root(&GoldenFile::derive(), 0).signer();
    let signature = signer.sign(b"zput/v2/charter\0x");
    let verify = |label, piece: &[u8]| signer.public_key().verify(label, &[piece], &signature);
    assert_eq!(verify(SignatureLabel::Charter, b"x"), Ok(()));
    assert!(verify(SignatureLabel::Charter, b"y").is_err());
    assert!(verify(SignatureLabel::Root, b"x").is_err());
}

/// The first root derives the member secret of its vault; a later root derives none.
#[test]
fn member_secret_comes_of_first_root_only() {
    let golden = GoldenFile::derive();
    let (first, second) = (root(&golden, 0), root(&golden, 1));
    let vault = VaultId::from_bytes(golden.array("V"));
    let member = first.member_secret(&vault).unwrap();
    assert_eq!(hex::encode(member.as_bytes()), golden.text("M"));
    assert_eq!(second.member_secret(&vault), Err(NotFirstRoot));
    assert_eq!(first.member_secret(&second.signer().vault_id()), Err(NotFirstRoot));
}

/// Epoch secrets, their identities and their history keys have the golden file's bytes.
#[test]
fn epoch_secret_derives_golden_keys() {
    let golden = GoldenFile::derive();
    let states = [
        ("0", 0, 0),
        ("0_extension", 0, 0),
        ("1", 1, 0),
        ("1_fork", 1, 0),
        ("2", 2, 1),
        ("2_theft", 2, 1),
        ("1023", 1023, 1),
    ];
    for (name, number, index) in states {
        let state = StateDigest::from_bytes(golden.array(&format!("state_hash_{name}")));
        let epoch = root(&golden, index).epoch(Epoch::new(number), &state);
        let row = |what: &str| golden.text(&format!("{what}_{name}"));
        assert_eq!(hex::encode(epoch.as_bytes()), row("E"));
        let Identity::MlKem768X25519(seed) = epoch.identity() else { panic!("{number}") };
        assert_eq!(hex::encode(seed.as_bytes()), row("identity"));
        assert_eq!(hex::encode(epoch.history_key().0.as_bytes()), row("history_key"));
        assert_eq!(EpochSecret::from_bytes(*epoch.as_bytes()), epoch);
    }
}

/// The keys of a member, object keys, prefix tags and the vault MAC have the golden file's bytes,
/// for a name in UTF-8 and one that is not.
#[test]
fn member_secret_derives_golden_keys_and_names() {
    let golden = GoldenFile::derive();
    let member = MemberSecret::from_bytes(golden.array("M"));
    let name_key = member.name_key();
    assert_eq!(hex::encode(name_key.0.as_bytes()), golden.text("name_key"));
    assert_eq!(hex::encode(member.charter_key().0.as_bytes()), golden.text("charter_key"));
    for of in ["utf8", "raw"] {
        let name = golden.bytes(&format!("{of}.name"));
        let key = golden.text(&format!("{of}.object_key.text"));
        assert_eq!(name_key.object_key(&name).as_bytes(), key.as_bytes());
        let prefix = golden.bytes(&format!("{of}.prefix"));
        let tag = PrefixTag::from_bytes(golden.array(&format!("{of}.prefix_tag")));
        assert_eq!(name_key.prefix_tag(&prefix), tag);
        assert_eq!(name_key.prefix_tags(&name).collect::<Vec<_>>(), [tag]);
    }

    let mac_key = member.mac_key();
    assert_eq!(hex::encode(mac_key.0.as_bytes()), golden.text("mac_key"));
    let transcript = golden.array("transcript");
    let mac = mac_key.mac(&transcript);
    assert_eq!(hex::encode(mac), golden.text("vault_mac"));
    assert_eq!(mac_key.verify(&transcript, &mac), Ok(()));
    for at in [0, 31] {
        let mut wrong = mac;
        wrong[at] ^= 1;
        assert_eq!(mac_key.verify(&transcript, &wrong), Err(VaultMacMismatch), "{at}");
    }
}

/// FORMAT 10: "`a/b/c` has `a/` and `a/b/`", and a name without a slash has no prefix.
#[test]
fn name_key_tags_each_prefix_of_name() {
    let name_key = MemberSecret::from_bytes([7; 32]).name_key();
    let tags: Vec<_> = name_key.prefix_tags(b"a/b/c").collect();
    assert_eq!(tags, [name_key.prefix_tag(b"a/"), name_key.prefix_tag(b"a/b/")]);
    assert_ne!(tags[0], tags[1]);
    assert_eq!(name_key.prefix_tags(b"abc").count(), 0);
}

/// The keys of a device, and its wrap key under each root, have the golden file's bytes.
#[test]
fn device_seed_v2_derives_golden_keys() {
    let golden = GoldenFile::derive();
    let seed = DeviceSeed::from_bytes(golden.array("device_seed"));
    let tls = seed.tls_key();
    assert_eq!(hex::encode(tls.as_bytes()), golden.text("tls_seed"));
    let device = tls.public_key();
    assert_eq!(device.to_string(), golden.text("device"));
    assert_eq!(seed.device(), device);
    // The public key says which seed it was: no two seeds have the same.
    assert_eq!(seed.writer_key().public_key().to_string(), golden.text("writer"));
    assert_eq!(hex::encode(seed.writer().as_bytes()), golden.text("writer"));
    for index in [0, 1] {
        let wrap_root = WrapRoot::from_bytes(golden.array(&format!("wrap_root_{index}")));
        let wrap_key = WrapKey::of(&wrap_root, &device);
        assert_eq!(hex::encode(wrap_key.as_bytes()), golden.text(&format!("wrap_key_{index}")));
        assert_eq!(WrapKey::from_bytes(*wrap_key.as_bytes()), wrap_key);
    }
}

/// A message of a wrap key opens under that key and in its context only.
#[test]
fn message_key_opens_its_own_messages_only() {
    let golden = GoldenFile::derive();
    let [key, other] =
        ["wrap_key_0", "wrap_key_1"].map(|name| WrapKey::from_bytes(golden.array(name)));
    let (context, secret) = (b"envelope\0\0\0\x01", golden.bytes("E_1"));
    let message = key.seal(context, &secret, &mut FixedRng::new([9; 24])).unwrap();
    // FORMAT 13: "envelopes: 104 × count".
    assert_eq!(message.len(), 104);
    assert_eq!(*key.open(context, &message).unwrap(), secret);
    assert_eq!(other.open(context, &message), Err(ChunkError::CommitmentMismatch));
    let other_epoch = key.open(b"envelope\0\0\0\x02", &message);
    assert_eq!(other_epoch, Err(ChunkError::CommitmentMismatch));
}

/// The Debug texts of the secrets and keys of format 2 show public keys, and nothing else.
#[test]
fn secrets_v2_debug_shows_only_public_keys() {
    let golden = GoldenFile::derive();
    let (root, member) = (root(&golden, 0), MemberSecret::from_bytes(golden.array("M")));
    let (epoch, wrap_root) =
        (root.epoch(Epoch::new(0), &StateDigest::from_bytes([7; 32])), root.wrap_root());
    let seed = DeviceSeed::from_bytes(golden.array("device_seed"));
    let wrap_key = WrapKey::of(&wrap_root, &seed.tls_key().public_key());
    let keys = format!("{:?} {:?} {wrap_key:?}", root.owner_key(), root.kit_key());
    assert_eq!(keys, "OwnerKey([secret]) KitKey([secret]) WrapKey([secret])");
    let keys = format!("{:?} {:?}", member.charter_key(), epoch.history_key());
    assert_eq!(keys, "CharterKey([secret]) HistoryKey([secret])");
    let keys = format!("{:?} {:?}", member.name_key(), member.mac_key());
    assert_eq!(keys, "NameKey([secret]) MacKey([secret])");
    let secrets = format!("{root:?} {member:?} {epoch:?} {wrap_root:?} {seed:?}");
    assert_eq!(
        secrets,
        "RootSecret([secret]) MemberSecret([secret]) EpochSecret([secret]) WrapRoot([secret]) \
         DeviceSeed([secret])"
    );
    let public = golden.text("root_sign_0.public");
    assert_eq!(format!("{:?}", root.signer()), format!("RootSigner({public}, [secret])"));
}
