//! Who a peer is and what it may request (PROTOCOL 5).
//!
//! Dispatch takes an [`Authorized`] request, and only [`Principal::authorize`] makes one: a request
//! whose scope was not checked cannot be served.

use zput_proto::{
    keys::DevicePublicKey,
    message::{Request, Scopes},
};

use crate::mounts::Policy;

/// The peer of a connection, as this server knows it.
#[derive(Debug)]
pub(crate) enum Principal {
    /// A device without an account. It may send a Join, once.
    Unregistered(DevicePublicKey),
    /// A device with an account, and its scopes.
    Registered(DevicePublicKey, Scopes),
    /// A peer without a key, on a plaintext connection. Each mount's policy has its scopes.
    Anonymous,
}

/// A request whose sender may make it.
#[derive(Debug)]
pub(crate) struct Authorized(Request);

impl Authorized {
    /// The request.
    pub(crate) fn into_request(self) -> Request {
        self.0
    }
}

/// A request whose sender may not make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// The text of the response.
    pub(crate) why: &'static str,
    /// Whether the connection ends with the response: always for unregistered devices, and for
    /// requests whose payload may be on its way already, because that must not be read (PROTOCOL
    /// 5).
    pub(crate) close: bool,
}

impl Principal {
    /// Its device, with or without an account.
    pub(crate) const fn device(&self) -> Option<DevicePublicKey> {
        match self {
            Self::Unregistered(device) | Self::Registered(device, _) => Some(*device),
            Self::Anonymous => None,
        }
    }

    /// Its device, if that has an account.
    pub(crate) const fn member(&self) -> Option<DevicePublicKey> {
        if let Self::Registered(device, _) = self { Some(*device) } else { None }
    }

    /// Whether it may request anything of a mount with this policy.
    pub(crate) fn may_enter(&self, policy: &Policy) -> bool {
        match self {
            Self::Unregistered(_) => false,
            Self::Registered(..) => true,
            Self::Anonymous => policy.anonymous_scopes() != Scopes::NONE,
        }
    }

    /// Authorizes a request about a mount with this policy, or refuses it.
    pub(crate) fn authorize(
        &self,
        request: Request,
        mount: Option<&Policy>,
    ) -> Result<Authorized, Forbidden> {
        let scopes = match self {
            // PROTOCOL 5: "the only request that an unknown device may send".
            Self::Unregistered(_) => {
                return match request {
                    Request::Join { .. } => Ok(Authorized(request)),
                    _ => Err(Forbidden { why: "no account for this device", close: true }),
                };
            }
            Self::Registered(_, scopes) => *scopes,
            // Without a mount there is nothing to refuse.
            Self::Anonymous => mount.map_or(Scopes::ALL, Policy::anonymous_scopes),
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
            // The mount's policy decides whether a peer may select it.
            Request::Ping | Request::Mount { .. } => return Ok(Authorized(request)),
            // A device with an account wants more scopes, or lost the first response.
            Request::Join { .. } if self.device().is_some() => return Ok(Authorized(request)),
            // Only a device can have an account. The session answers an Echo itself.
            Request::Join { .. } | Request::Echo { .. } => {
                return Err(Forbidden {
                    why: "Join is not possible on this connection",
                    close: true,
                });
            }
        };
        if scopes.allows(needed) { Ok(Authorized(request)) } else { Err(Forbidden { why, close }) }
    }
}

#[cfg(test)]
mod tests {
    use zput_proto::{
        digest::Digest,
        message::{Condition, HeaderSlice, Kind, Version},
        mount::MountName,
        name::ObjectKey,
    };

    use super::*;

    /// Every request, with the scope of PROTOCOL 5 that allows it and whether its refusal closes.
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
        Policy { public: true, anonymous: Scopes::ALL, allow_unsealed: true, ..Policy::PRIVATE }
    }

    /// An anonymous peer may get and list a public mount, and nothing more.
    #[test]
    fn public_mount_allows_anonymous_get_and_list_only() {
        let public = Policy { public: true, ..Policy::PRIVATE };
        for (request, needed, _) in table() {
            let name = format!("{request:?}");
            let authorized = Principal::Anonymous.authorize(request, Some(&public)).is_ok();
            let expected = matches!(needed, None | Some("get" | "list"));
            assert_eq!(authorized, expected, "{name}");
        }
    }

    fn join() -> Request {
        Request::Join { secret: [0; 32], label: String::new() }
    }

    /// Each request needs its own scope, and any other scope does not allow it.
    #[test]
    fn authorize_requires_exact_scope_for_each_request() {
        for scope in ["put", "get", "list", "delete"] {
            let scopes = Scopes::named(scope).unwrap();
            let policy = Policy { anonymous: scopes, ..Policy::PRIVATE };
            for principal in [Principal::Registered(device(), scopes), Principal::Anonymous] {
                for (request, needed, close) in table() {
                    let name = format!("{request:?} with {scope}");
                    let authorized = principal.authorize(request, Some(&policy)).map(|_| ());
                    if needed.is_none_or(|needed| needed == scope) {
                        assert_eq!(authorized, Ok(()), "{name}");
                    } else {
                        let told = needed.map(|needed| format!("this device may not {needed}"));
                        let denied = authorized.unwrap_err();
                        assert_eq!(Some(denied.why), told.as_deref(), "{name}");
                        assert_eq!(denied.close, close, "{name}");
                    }
                }
            }
        }
    }

    /// An unregistered device may send Join, and is refused everything else.
    #[test]
    fn unregistered_device_may_only_join() {
        let stranger = Principal::Unregistered(device());
        for (request, _, _) in table() {
            let denied = Forbidden { why: "no account for this device", close: true };
            assert_eq!(stranger.authorize(request, Some(&everything())).map(|_| ()), Err(denied));
        }
        assert!(stranger.authorize(join(), None).is_ok());
    }

    /// Join is refused on an anonymous connection and allowed for a registered device.
    #[test]
    fn join_requires_device_key() {
        let denied = Forbidden { why: "Join is not possible on this connection", close: true };
        let joined = Principal::Anonymous.authorize(join(), Some(&everything()));
        assert_eq!(joined.map(|_| ()), Err(denied));
        assert!(Principal::Registered(device(), Scopes::NONE).authorize(join(), None).is_ok());
    }
}
