//! Serde for 32 bytes without a length, where zeros mean that there is nothing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{keys::DevicePublicKey, vault::VaultId};

/// What has 32 bytes, which are not zeros where it is there.
pub(super) trait Bytes32 {
    fn from_bytes(bytes: [u8; 32]) -> Self;
    fn as_bytes(&self) -> &[u8; 32];
}

pub(super) fn serialize<T: Bytes32, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map_or(&NOTHING, T::as_bytes).serialize(serializer)
}

pub(super) fn deserialize<'de, T: Bytes32, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let bytes = <[u8; 32]>::deserialize(deserializer)?;
    Ok((bytes != NOTHING).then(|| T::from_bytes(bytes)))
}

const NOTHING: [u8; 32] = [0; 32];

impl Bytes32 for VaultId {
    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::from_bytes(bytes)
    }

    fn as_bytes(&self) -> &[u8; 32] {
        self.as_bytes()
    }
}

impl Bytes32 for DevicePublicKey {
    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::from_bytes(bytes)
    }

    fn as_bytes(&self) -> &[u8; 32] {
        self.as_bytes()
    }
}
