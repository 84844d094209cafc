//! Whose upload it is, and by which connection it came.

use zput_common::keys::public::DevicePublicKey;

/// Who writes an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// The device's key; none for an anonymous one.
    pub device: Option<DevicePublicKey>,
    /// The connection's number, in the order in which connections were accepted by this process: a fencing token. An
    /// upload of one connection is taken over by a later one of the same device. 0 for a caller that has none: it takes
    /// nothing over.
    pub connection: u64,
}

impl From<Option<DevicePublicKey>> for Writer {
    fn from(device: Option<DevicePublicKey>) -> Self {
        Self { device, connection: 0 }
    }
}
