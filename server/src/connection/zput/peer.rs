//! What a connection knows of its peer.

use std::time::Instant;

use tracing::{debug, info};
use zput_proto::{hello::Mode, keys::DevicePublicKey, message::Scopes};

use super::authorize::Principal;
use crate::jobs::Device;

/// The peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address, for the log.
    pub(super) address: String,
    /// The device that it is without a key.
    without_key: Device,
    /// The number of its permit: greater than those of all connections accepted before.
    pub(super) number: u64,
    /// `None` until the handshake is over.
    pub(super) principal: Option<Principal>,
    /// Whether the connection is not encrypted, so that plain objects may be transferred.
    pub(super) is_plaintext: bool,
    /// When it is disconnected if it is unregistered, whatever it sends.
    register_by: Instant,
    /// Whether a request was refused before, which is logged once for each connection.
    denied: bool,
}

impl Peer {
    /// A peer that must register in time.
    pub(super) const fn new(
        address: String,
        without_key: Device,
        number: u64,
        register_by: Instant,
    ) -> Self {
        Self {
            address,
            without_key,
            number,
            principal: None,
            is_plaintext: false,
            register_by,
            denied: false,
        }
    }

    /// The device for which its jobs are done.
    pub(super) fn device(&self) -> Device {
        let key = self.principal.as_ref().and_then(Principal::device);
        key.map_or(self.without_key, Device::Key)
    }

    /// Notes the end of the handshake. An unregistered device may only join; whether this one is
    /// registered, the store knows.
    pub(super) fn connected(&mut self, device: Option<DevicePublicKey>, mode: Mode) {
        debug!(peer = self.address, ?mode, "connected");
        self.is_plaintext = mode == Mode::Plaintext;
        self.principal = Some(device.map_or(Principal::Anonymous, Principal::Unregistered));
    }

    /// Notes the scopes of its account, if it is a device.
    pub(super) fn register(&mut self, scopes: Scopes) {
        if let Some(device) = self.principal.as_ref().and_then(Principal::device) {
            self.principal = Some(Principal::Registered(device, scopes));
        }
    }

    /// Whether it has authenticated with an account, or has no key.
    pub(super) const fn is_registered(&self) -> bool {
        matches!(self.principal, Some(Principal::Registered(..) | Principal::Anonymous))
    }

    /// Whether it has no key.
    pub(super) const fn is_anonymous(&self) -> bool {
        matches!(self.principal, Some(Principal::Anonymous))
    }

    /// When it must have joined, if it is unregistered. Traffic does not extend that, so an
    /// unregistered device cannot hold a connection slot by trickling bytes.
    pub(super) fn register_by(&self) -> Option<Instant> {
        (!self.is_registered()).then_some(self.register_by)
    }

    /// Logs a refusal. The metrics count each one; the log has the first one of a connection.
    pub(super) fn log_denied(&mut self, why: &str) {
        if std::mem::replace(&mut self.denied, true) {
            debug!(peer = self.address, why, "denied again");
        } else {
            info!(peer = self.address, why, "denied");
        }
    }
}
