//! Who a peer is and what it may ask (PROTOCOL 5).
//!
//! The handler takes an [`Admitted`] and nothing else, and only [`Standing::admit`] makes one: a
//! request whose scope was not checked cannot be served.

use zput_common::{
    keys::DevicePublicKey,
    proto::message::{Request, Scopes},
};

use crate::mounts::Policy;

/// What a connection's peer is to this server.
#[derive(Debug)]
pub(crate) enum Standing {
    /// A device without an account: it may send a Join, once.
    Stranger(DevicePublicKey),
    /// A device with an account.
    Member(DevicePublicKey, Scopes),
    /// A peer without a key, on a plaintext connection: each mount says what it may do.
    Anonymous,
}

/// A request that its sender may make.
#[derive(Debug)]
pub(crate) struct Admitted(Request);

impl Admitted {
    /// The request.
    pub(crate) fn into_request(self) -> Request {
        self.0
    }
}

/// A request that its sender may not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// What its sender is told.
    pub(crate) why: &'static str,
    /// Whether the connection ends with the answer: always for strangers, and where the bytes of a
    /// put may be on their way already, for those are not to be read (PROTOCOL 5).
    pub(crate) close: bool,
}

impl Standing {
    /// Its device, with an account or without.
    pub(crate) const fn device(&self) -> Option<DevicePublicKey> {
        match self {
            Self::Stranger(device) | Self::Member(device, _) => Some(*device),
            Self::Anonymous => None,
        }
    }

    /// Its device, where it has an account.
    pub(crate) const fn member(&self) -> Option<DevicePublicKey> {
        if let Self::Member(device, _) = self { Some(*device) } else { None }
    }

    /// Whether there is anything for it to do in a mount with this policy.
    pub(crate) fn may_enter(&self, policy: &Policy) -> bool {
        match self {
            Self::Stranger(_) => false,
            Self::Member(..) => true,
            Self::Anonymous => policy.anonymous() != Scopes::NONE,
        }
    }

    /// Lets a request about a mount with this policy through, or not.
    pub(crate) fn admit(
        &self,
        request: Request,
        mount: Option<&Policy>,
    ) -> Result<Admitted, Denied> {
        let scopes = match self {
            // PROTOCOL 5: "the only request that an unknown device may send".
            Self::Stranger(_) => {
                return match request {
                    Request::Join { .. } => Ok(Admitted(request)),
                    _ => Err(Denied { why: "this device has no account here", close: true }),
                };
            }
            Self::Member(_, scopes) => *scopes,
            // Where there is no mount there is nothing to be denied.
            Self::Anonymous => mount.map_or(Scopes::ALL, Policy::anonymous),
        };
        let (needed, why, close) = match &request {
            Request::Get { .. } | Request::Stat { .. } | Request::Versions { .. } => {
                (Scopes::GET, "this device may not get", false)
            }
            Request::List { .. } => (Scopes::LIST, "this device may not list", false),
            Request::Begin { .. }
            | Request::Resume { .. }
            | Request::Claim { .. }
            | Request::Slice { .. }
            | Request::Commit
            | Request::Abort => (Scopes::PUT, "this device may not put", true),
            Request::Delete { .. } | Request::Restore { .. } => {
                (Scopes::DELETE, "this device may not delete", false)
            }
            // Which mount a peer may speak of is the mount's to say.
            Request::Ping | Request::Mount { .. } => return Ok(Admitted(request)),
            // A device with an account asks for more, or for an answer that it has lost.
            Request::Join { .. } if self.device().is_some() => return Ok(Admitted(request)),
            // Only a device can have an account; the echo is the session's.
            Request::Join { .. } | Request::Echo { .. } => {
                return Err(Denied { why: "nobody can join on this connection", close: true });
            }
        };
        if scopes.allows(needed) { Ok(Admitted(request)) } else { Err(Denied { why, close }) }
    }
}

#[cfg(test)]
mod tests {
    use zput_common::{
        digest::Digest,
        mount::MountName,
        name::ObjectKey,
        proto::message::{Condition, HeaderSlice, Kind, Version},
    };

    use super::*;

    /// Every request, with the one scope of PROTOCOL 5 that allows it and whether its denial closes.
    fn table() -> Vec<(Request, Option<&'static str>, bool)> {
        let key = || ObjectKey::new("k").unwrap();
        let (kind, condition) = (Kind::Sealed, Condition::Any);
        let get = Request::Get { key: key(), version: None, sections: vec![], kind };
        vec![
            (get, Some("get"), false),
            (Request::Stat { key: key(), version: None }, Some("get"), false),
            (Request::Versions { key: key(), after: None, limit: 1 }, Some("get"), false),
            (Request::List { after: None, limit: 1, headers: false }, Some("list"), false),
            (Request::Begin { key: key(), kind, condition, header: None }, Some("put"), true),
            (
                Request::Resume { key: key(), condition, header: HeaderSlice::of(Vec::new()) },
                Some("put"),
                true,
            ),
            (Request::Claim { slices: Vec::new() }, Some("put"), true),
            (Request::Slice { length: 1, digest: Digest::of(b"") }, Some("put"), true),
            (Request::Commit, Some("put"), true),
            (Request::Abort, Some("put"), true),
            (Request::Delete { key: key(), condition }, Some("delete"), false),
            (Request::Restore { key: key(), version: Version(1) }, Some("delete"), false),
            (Request::Ping, None, false),
            (Request::Mount { name: MountName::ROOT }, None, false),
        ]
    }

    fn device() -> DevicePublicKey {
        DevicePublicKey::from_bytes([7; 32])
    }

    fn everything() -> Policy {
        Policy { public: true, plaintext: Scopes::ALL, unsealed: true, ..Policy::PRIVATE }
    }

    #[test]
    fn what_is_public_may_be_got_and_listed_by_everybody_and_no_more() {
        let public = Policy { public: true, ..Policy::PRIVATE };
        for (request, needed, _) in table() {
            let name = format!("{request:?}");
            let admitted = Standing::Anonymous.admit(request, Some(&public)).is_ok();
            let expected = matches!(needed, None | Some("get" | "list"));
            assert_eq!(admitted, expected, "{name}");
        }
    }

    fn join() -> Request {
        Request::Join { secret: [0; 32], label: String::new() }
    }

    #[test]
    fn each_request_needs_its_own_scope_and_no_other() {
        for scope in ["put", "get", "list", "delete"] {
            let scopes = Scopes::named(scope).unwrap();
            let policy = Policy { plaintext: scopes, ..Policy::PRIVATE };
            for standing in [Standing::Member(device(), scopes), Standing::Anonymous] {
                for (request, needed, close) in table() {
                    let name = format!("{request:?} with {scope}");
                    let admitted = standing.admit(request, Some(&policy)).map(|_| ());
                    if needed.is_none_or(|needed| needed == scope) {
                        assert_eq!(admitted, Ok(()), "{name}");
                    } else {
                        let told = needed.map(|needed| format!("this device may not {needed}"));
                        let denied = admitted.unwrap_err();
                        assert_eq!(Some(denied.why), told.as_deref(), "{name}");
                        assert_eq!(denied.close, close, "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_stranger_may_only_join() {
        let stranger = Standing::Stranger(device());
        for (request, _, _) in table() {
            let denied = Denied { why: "this device has no account here", close: true };
            assert_eq!(stranger.admit(request, Some(&everything())).map(|_| ()), Err(denied));
        }
        assert!(stranger.admit(join(), None).is_ok());
    }

    #[test]
    fn joining_needs_a_device() {
        let denied = Denied { why: "nobody can join on this connection", close: true };
        let joined = Standing::Anonymous.admit(join(), Some(&everything()));
        assert_eq!(joined.map(|_| ()), Err(denied));
        assert!(Standing::Member(device(), Scopes::NONE).admit(join(), None).is_ok());
    }
}
