//! The golden blob of `common/seal/tests/data`, taken apart.

use std::sync::LazyLock;

use zput_proto::envelope::Envelope;
use zput_seal::{
    age::Identity,
    keys::{VaultMacKey, VaultSecret},
};

const BLOB: &[u8] = include_bytes!("../../common/seal/tests/data/golden-v1.zput");
const IDENTITY: &str = include_str!("../../common/seal/tests/data/golden-v1.identity");
const VAULT: &str = include_str!("../../common/seal/tests/data/golden-v1.vault");

pub(crate) struct Golden {
    pub(crate) header: &'static [u8],
    pub(crate) footer: &'static [u8],
    pub(crate) identity: Identity,
    pub(crate) vault: VaultMacKey,
}

pub(crate) static GOLDEN: LazyLock<Option<Golden>> = LazyLock::new(|| {
    let envelope = Envelope::new(BLOB, BLOB, BLOB.len() as u64).ok()?;
    let header = BLOB.get(..envelope.header_length as usize)?;
    let footer = BLOB.get(BLOB.len() - envelope.footer_length as usize..)?;
    let mut secret = [0; 32];
    for (byte, digits) in secret.iter_mut().zip(VAULT.trim_end().as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    let identity = IDENTITY.trim_end().parse().ok()?;
    let vault = VaultSecret::from_bytes(secret).mac_key();
    Some(Golden { header, footer, identity, vault })
});
