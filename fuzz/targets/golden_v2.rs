//! The golden certificates and charters of `common/seal/tests/data`.

use std::sync::LazyLock;

use zput_proto::vault::{HeldCharter, VaultId};

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
    "root-1"
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
