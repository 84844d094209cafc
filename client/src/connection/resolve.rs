//! Resolves host names with getaddrinfo(3), on a thread that is waited for only up to a limit.

use std::{fmt, io, net::IpAddr, sync::Arc, time::Duration};

use crossbeam_channel::{RecvTimeoutError, bounded};
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType};
use thiserror::Error;
use zput_os::threads;

/// Seconds to wait for the system's resolver. resolv.conf(5): two rounds of 5 seconds for each of
/// up to three servers.
const RESOLVE_SECONDS: u64 = 30;
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 32;

/// Why a name has no addresses.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The lookup failed for now (`EAI_AGAIN`): network or name server are down.
    #[error(transparent)]
    Unknown(io::Error),
    /// There is no such name, or it has no address.
    #[error(transparent)]
    NoSuchName(io::Error),
    /// The system did not answer in time.
    #[error("no answer from the resolver within {RESOLVE_SECONDS} seconds (try again)")]
    TimedOut,
    /// The lookup thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl ResolveError {
    /// Whether a retry may succeed.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::TimedOut)
    }
}

/// Resolves names to addresses, in the order in which to try them.
#[derive(Clone)]
pub struct Resolver(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync;

impl Resolver {
    /// The system's resolver.
    #[must_use]
    pub fn system() -> Self {
        Self::new(system_lookup)
    }

    /// A resolver that calls `lookup` on a thread of its own.
    pub fn new(
        lookup: impl Fn(&str) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(lookup))
    }

    /// The addresses of `host`, which may be an address itself.
    pub(super) fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let (sender, answer) = bounded(1);
        let (lookup, name) = (Arc::clone(&self.0), host.to_owned());
        // getaddrinfo(3) cannot be interrupted: if it hangs, its thread ends with the process.
        let _thread = threads::spawn("resolve", move || {
            let _nobody_waits = sender.send(lookup(&name));
        })
        .map_err(ResolveError::Thread)?;
        let mut found = match answer.recv_timeout(Duration::from_secs(RESOLVE_SECONDS)) {
            Ok(found) => found?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(ResolveError::TimedOut);
            }
        };
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() {
            return Err(ResolveError::NoSuchName(io::Error::other("the name has no address")));
        }
        Ok(found)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

fn system_lookup(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        let is_temporary = is_temporary_failure(&error.kind());
        if is_temporary {
            ResolveError::Unknown(error.into())
        } else {
            ResolveError::NoSuchName(error.into())
        }
    })?;
    // Addresses of other families than IPv4 and IPv6 are skipped.
    Ok(found.filter_map(Result::ok).map(|info| info.sockaddr.ip()).collect())
}

/// Whether this is a temporary error of getaddrinfo(3): `EAI_AGAIN`, `EAI_MEMORY`, `EAI_SYSTEM`.
fn is_temporary_failure(error: &LookupErrorKind) -> bool {
    matches!(error, LookupErrorKind::Again | LookupErrorKind::Memory | LookupErrorKind::System)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IP address is taken as it is, without a lookup.
    #[test]
    fn resolver_takes_ip_addresses_without_lookup() {
        let resolver = Resolver::new(|_| panic!("the resolver was called"));
        for address in ["127.0.0.1", "::1", "2001:db8::7"] {
            let found = resolver.addresses(address).unwrap();
            assert_eq!(found, [address.parse::<IpAddr>().unwrap()]);
        }
    }

    /// A name without addresses is final; a lookup without an answer is temporary.
    #[test]
    fn resolver_tells_missing_name_from_failed_lookup() {
        // RFC 6761, 6.3: "localhost" is loopback everywhere.
        let found = Resolver::system().addresses("localhost").unwrap();
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
        let text = |error: ResolveError| (error.is_temporary(), error.to_string());
        let empty = Resolver::new(|_| Ok(Vec::new())).addresses("x").unwrap_err();
        assert_eq!(text(empty), (false, "the name has no address".to_owned()));
        let again = Resolver::new(|_| Err(ResolveError::Unknown(io::Error::other("no answer"))));
        let again = again.addresses("x").unwrap_err();
        assert_eq!(text(again), (true, "no answer".to_owned()));
        let dead = Resolver::new(|_| panic!("the lookup ends without a word"));
        assert!(dead.addresses("x").unwrap_err().is_temporary());
    }

    /// The numbers are those of glibc's and musl's netdb.h.
    #[test]
    fn resolver_classifies_getaddrinfo_errors() {
        let passes = |number: i32| is_temporary_failure(&LookupErrorKind::new(number));
        for (number, name, passing) in [
            (-3, "EAI_AGAIN", true),
            (-10, "EAI_MEMORY", true),
            (-11, "EAI_SYSTEM", true),
            (-2, "EAI_NONAME", false),
            (-4, "EAI_FAIL", false),
            (-6, "EAI_FAMILY", false),
        ] {
            assert_eq!(passes(number), passing, "{name}");
        }
    }

    /// The resolver takes at most 32 addresses of a name.
    #[test]
    fn resolver_takes_at_most_32_addresses() {
        let many =
            Resolver::new(|_| Ok((0..1000).map(|n| IpAddr::from([10, 0, 3, n as u8])).collect()));
        assert_eq!(many.addresses("x").unwrap().len(), 32);
    }
}
