//! The origin of an upload.

use zput_proto::keys::DevicePublicKey;

/// The device and the connection that write an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// The device's public key; `None` for an anonymous writer.
    pub device: Option<DevicePublicKey>,
    /// The connection's number, in the order in which this process accepted connections: a fencing
    /// token. An upload on one connection can be taken over by a later connection of the same
    /// device. 0 for a caller without a connection, which takes nothing over.
    pub connection: u64,
}

impl From<Option<DevicePublicKey>> for Writer {
    fn from(device: Option<DevicePublicKey>) -> Self {
        Self { device, connection: 0 }
    }
}
