//! The device that a job is done for: what a pool's threads are divided among.

use std::net::IpAddr;

use zput_proto::keys::DevicePublicKey;

use crate::limits;

/// A device, as far as a pool tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Device {
    /// The peer with this key, on all its connections.
    Key(DevicePublicKey),
    /// All peers without a key at one client address: one IPv4 address, or one IPv6 network of 64
    /// bits.
    Client(IpAddr),
    /// All peers without a key on Unix sockets and socket pairs, and the server itself.
    Local,
}

impl Device {
    /// The device of a peer without a key; `address` is absent on a Unix socket.
    pub(crate) fn without_key(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Local, |address| Self::Client(limits::client_of(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peers without a key are one device for each IPv4 address and each IPv6 network of 64 bits.
    #[test]
    fn device_without_key_is_its_client_address() {
        let device = |address: &str| Device::without_key(Some(address.parse().unwrap()));
        assert_eq!(device("2001:db8:0:1::7"), device("2001:db8:0:1:ffff::"));
        assert_ne!(device("2001:db8:0:1::7"), device("2001:db8:0:2::7"));
        assert_eq!(device("::ffff:192.0.2.1"), device("192.0.2.1"));
        assert_ne!(device("192.0.2.1"), device("192.0.2.2"));
        assert_eq!(Device::without_key(None), Device::Local);
    }
}
