//! The golden certificates, charters and one blob of `common/seal/tests/data`.

use std::sync::LazyLock;

use zput_proto::{
    blob::{Header, Tail, header_length},
    digest::Digest,
    vault::{HeldCharter, VaultId},
};

macro_rules! golden {
    ($folder:literal, $ending:literal, $($name:literal),+) => {
        &[$(include_bytes!(concat!(
            "../../common/seal/tests/data/", $folder, "/", $name, ".", $ending
        ))),+]
    };
}

/// Certificates that hold under one of the charters.
pub(crate) const CERTIFICATES: &[&[u8]] = golden!(
    "certificate-v2",
    "certificate",
    "all-scopes",
    "put-prefix",
    "get",
    "later-scope",
    "skipped-extension",
    "root-1",
    "device-small-order",
    "device-not-canonical",
    "device-no-point"
);

/// Charters that hold.
pub(crate) const CHARTERS: &[&[u8]] = golden!(
    "charter-v2",
    "charter",
    "1",
    "2",
    "3",
    "3-fork",
    "4-planned",
    "4-theft",
    "16-roots",
    "skipped-extension"
);

/// The id of their vault, which stands behind 26 bytes of a charter and the flags.
pub(crate) static VAULT: LazyLock<VaultId> = LazyLock::new(|| {
    let Some(id) = CHARTERS[0].get(27..).and_then(|rest| rest.first_chunk()) else {
        panic!("the golden charter is too short");
    };
    VaultId::from_bytes(*id)
});

/// The charters, parsed.
pub(crate) static HELD: LazyLock<Vec<HeldCharter>> = LazyLock::new(|| {
    let held = CHARTERS.iter().map(|bytes| HeldCharter::parse(bytes, &VAULT));
    let Ok(held) = held.collect() else {
        panic!("a golden charter does not hold");
    };
    held
});

/// The golden blob of one part, taken apart.
pub(crate) struct GoldenBlob {
    pub(crate) header: Header,
    pub(crate) front: &'static [u8],
    pub(crate) tail: Tail,
    /// Its part and its front, as an upload has them.
    pub(crate) slices: [(u32, Digest); 2],
}

/// A blob of the first charter's vault.
pub(crate) static BLOB: LazyLock<Option<GoldenBlob>> = LazyLock::new(|| {
    const BYTES: &[u8] = include_bytes!("../../common/seal/tests/data/blob-v2/file.zput");
    let tail = Tail::parse_end(BYTES).ok()?;
    let (before, _) = BYTES.split_at_checked(BYTES.len() - tail.as_bytes().len())?;
    let front = tail.end().front_length() as usize;
    let (before, front) = before.split_at_checked(before.len().checked_sub(front)?)?;
    let (header, part) = before.split_at_checked(header_length(BYTES).ok()? as usize)?;
    let slice = |bytes: &[u8]| (bytes.len() as u32, Digest::of(bytes));
    let slices = [slice(part), slice(front)];
    Some(GoldenBlob { header: Header::parse(header).ok()?, front, tail, slices })
});
