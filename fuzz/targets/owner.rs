//! The owner's part of a charter: one that opens is the only encoding of what it says, but for the
//! extensions, whose length it says.
//!
//! The first byte chooses a vault of one root or of two; the others stand behind the hash.

use zput_seal::vault::Owner;

use super::sealed_v2::{charter, plaintext, public_part, rng, root};

pub(crate) fn run(input: &[u8]) {
    let Some((choice, fields)) = input.split_first() else {
        return;
    };
    let last_root = choice & 1;
    let Some(owner) = open(last_root, fields) else {
        return;
    };
    let written = written(&owner);
    assert!(fields.starts_with(&written));
    let (length, extensions) = fields[written.len()..].split_at(2);
    assert_eq!(usize::from(length[0]) * 256 + usize::from(length[1]), extensions.len());
    assert!(owner.wrap_roots().keys().all(|index| *index < last_root));
    assert!(owner.issued().values().all(|issued| issued.root <= last_root));
    assert!(open(last_root, &fields[..fields.len() - 1]).is_none(), "a cut one opens");
    assert!(open(last_root, &[fields, b"\0"].concat()).is_none(), "a longer one opens");
}

fn open(last_root: u8, fields: &[u8]) -> Option<Owner> {
    let public = public_part(0, last_root);
    let by = root(last_root);
    let sealed = by.owner_key().seal(b"owner", &plaintext(&public, fields), &mut rng()).ok()?;
    Owner::open(&charter(&public, b"", &sealed, &by)?, &by.owner_key()).ok()
}

/// What was read, written again, up to the extensions.
fn written(owner: &Owner) -> Vec<u8> {
    let mut bytes = owner.member_secret().as_bytes().to_vec();
    bytes.push(owner.wrap_roots().len() as u8);
    for (index, wrap_root) in owner.wrap_roots() {
        bytes.push(*index);
        bytes.extend(wrap_root.as_bytes());
    }
    bytes.extend((owner.issued().len() as u16).to_be_bytes());
    for ((device, digest), issued) in owner.issued() {
        bytes.extend(device.as_bytes());
        bytes.extend(digest.as_bytes());
        bytes.extend([issued.root, issued.role.number(), issued.label.len() as u8]);
        bytes.extend(issued.label.as_bytes());
    }
    bytes
}
