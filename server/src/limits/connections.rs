//! The connection limits: over all, per client address, and for peers without a key.
//!
//! A connection whose peer has not authenticated yet keeps its permit only as long as no other
//! connection needs it: at the limit, a new connection evicts the one that has been unregistered
//! for longest, or else one whose upload makes no progress. Peers without a key have only a part of
//! the permits, so that devices with an account always find one.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::semaphore::{Permit, Semaphore};

/// Time that every peer gets to authenticate before it can be evicted: a handshake over a slow
/// line.
const UNREGISTERED_MIN: Duration = Duration::from_secs(1);

/// The number of the next permit of any server in this process; the first is 1. The numbers follow
/// the order in which the connections were accepted.
static NEXT_PERMIT: AtomicU64 = AtomicU64::new(1);

/// Maximum evicted connections that have not ended yet. They exceed the limit for that time.
pub(crate) const EVICTING_MAX: usize = 64;

/// Most clients of the admin address at once; a further one takes the place of the one that has
/// been silent for longest.
pub(crate) const ADMIN_CLIENTS_MAX: usize = 64;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Maximum connections over all clients; at most [`EVICTING_MAX`] evicted ones are not counted.
    pub(crate) all: usize,
    /// Maximum connections of one client: one IPv4 address, or one IPv6 network of 64 bits.
    pub(crate) each: usize,
    /// Whether the limit per client applies to the loopback interface too.
    pub(crate) count_loopback: bool,
    /// Maximum connections of peers without a key.
    pub(crate) keyless: usize,
}

/// Gives out a permit for each connection, within [`ConnectionLimits`].
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimiter {
    state: Arc<Mutex<State>>,
    limits: ConnectionLimits,
    keyless: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    all: usize,
    /// Of `all`, the evicted ones that have not ended yet.
    evicting: usize,
    /// Permits by client, for clients that have any.
    by_client: HashMap<IpAddr, usize>,
    /// Permits of peers that have not authenticated, in the order of their arrival.
    unregistered: BTreeMap<u64, Unregistered>,
    /// Permits of registered peers that may be evicted, with their workers, in the order of
    /// arrival.
    evictable: BTreeMap<u64, usize>,
}

#[derive(Debug)]
struct Unregistered {
    since: Instant,
    worker: usize,
}

/// Why a connection gets no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// All permits are taken.
    Full,
    /// This client has as many connections as one client may have.
    ClientFull,
}

/// A connection that its worker must close, because its permit was given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Eviction {
    /// The worker that owns it.
    pub(crate) worker: usize,
    /// The number of its permit.
    pub(crate) permit: u64,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    state: Arc<Mutex<State>>,
    client: Option<IpAddr>,
    number: u64,
    worker: usize,
    registered: bool,
    evictable: bool,
    /// Set for a peer that has no key, whatever it claims to be.
    _keyless: Option<Permit>,
}

impl ConnectionLimiter {
    /// Permits within `limits`, all free.
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let keyless = Semaphore::new(limits.keyless);
        Self { state: Arc::default(), limits, keyless }
    }

    /// Bounds the connections of peers without a key.
    pub(crate) fn keyless(&self) -> &Semaphore {
        &self.keyless
    }

    /// A permit for a connection from `address`, served by `worker`. A Unix socket has no address,
    /// and the limit per client does not apply to it. `keyless` says that the peer has no key. At
    /// the limit over all, the permit comes with the connection that has to be evicted for it.
    ///
    /// # Errors
    /// When all permits are taken and none can be evicted, or when all that this client, or peers
    /// without a key, may have are taken.
    pub(crate) fn take(
        &self,
        address: Option<IpAddr>,
        keyless: bool,
        worker: usize,
        now: Instant,
    ) -> Result<(ConnectionPermit, Option<Eviction>), LimitReached> {
        let counts =
            |address: &IpAddr| self.limits.count_loopback || !address.to_canonical().is_loopback();
        let client = address.filter(counts).map(client_of);
        let mut state = lock(&self.state);
        let of_client = client.and_then(|client| state.by_client.get(&client)).copied();
        if client.is_some() && of_client.unwrap_or(0) >= self.limits.each {
            return Err(LimitReached::ClientFull);
        }
        let permit = if keyless {
            Some(self.keyless.try_acquire().ok_or(LimitReached::Full)?)
        } else {
            None
        };
        let evicting = if state.all - state.evicting >= self.limits.all {
            Some(state.evict(now).ok_or(LimitReached::Full)?)
        } else {
            None
        };
        state.all += 1;
        if let Some(client) = client {
            *state.by_client.entry(client).or_default() += 1;
        }
        let number = NEXT_PERMIT.fetch_add(1, Ordering::Relaxed);
        if !keyless {
            state.unregistered.insert(number, Unregistered { since: now, worker });
        }
        let state = Arc::clone(&self.state);
        let permit = ConnectionPermit {
            state,
            client,
            number,
            worker,
            registered: keyless,
            evictable: false,
            _keyless: permit,
        };
        Ok((permit, evicting))
    }

    /// Number of permits in use, those of evicted connections that have not ended included.
    pub(crate) fn count(&self) -> usize {
        lock(&self.state).all
    }
}

impl State {
    /// Evicts the connection that has been unregistered for longest, if that is long enough, or
    /// else the oldest evictable one.
    fn evict(&mut self, now: Instant) -> Option<Eviction> {
        if self.evicting >= EVICTING_MAX {
            return None;
        }
        let waited =
            |unregistered: &Unregistered| now.saturating_duration_since(unregistered.since);
        let unregistered =
            self.unregistered.first_key_value().filter(|(_, u)| waited(u) >= UNREGISTERED_MIN);
        let unregistered =
            unregistered.map(|(permit, unregistered)| (*permit, unregistered.worker));
        let evictable =
            || self.evictable.first_key_value().map(|(permit, worker)| (*permit, *worker));
        let (permit, worker) = unregistered.or_else(evictable)?;
        self.unregistered.remove(&permit);
        self.evictable.remove(&permit);
        self.evicting += 1;
        Some(Eviction { worker, permit })
    }

    /// The permit can no longer be evicted: its peer registered, its upload makes progress again,
    /// or it ended.
    fn protect(&mut self, number: u64) {
        if self.unregistered.remove(&number).is_none() && self.evictable.remove(&number).is_none() {
            // It was evicted, and ended or authenticated before its worker received the eviction.
            self.evicting = self.evicting.saturating_sub(1);
        }
    }
}

impl ConnectionPermit {
    /// The permit's number, by which it is evicted. Connections accepted later have greater
    /// numbers.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether it may be evicted: its peer has not authenticated, or its upload makes no
    /// progress.
    pub(crate) const fn is_evictable(&self) -> bool {
        !self.registered || self.evictable
    }

    /// Sets whether it may be evicted though its peer has authenticated.
    pub(crate) fn set_evictable(&mut self, evictable: bool) {
        if !self.registered || std::mem::replace(&mut self.evictable, evictable) == evictable {
            return;
        }
        let mut state = lock(&self.state);
        if evictable {
            state.evictable.insert(self.number, self.worker);
        } else {
            state.protect(self.number);
        }
    }

    /// Notes that its peer has authenticated.
    pub(crate) fn register(&mut self) {
        if !std::mem::replace(&mut self.registered, true) {
            lock(&self.state).protect(self.number);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.all = state.all.saturating_sub(1);
        if self.is_evictable() {
            state.protect(self.number);
        }
        if let Some(client) = self.client
            && let Some(of_client) = state.by_client.get_mut(&client)
        {
            *of_client = of_client.saturating_sub(1);
            if *of_client == 0 {
                state.by_client.remove(&client);
            }
        }
    }
}

/// The client at an address. A client with one address of an IPv6 network of 64 bits has all of
/// them (RFC 4291, 2.5.4).
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// A thread that panicked while it held the lock left the counts consistent.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: ConnectionLimits =
        ConnectionLimits { all: 9, each: 9, count_loopback: true, keyless: 9 };

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn take(
        limiter: &ConnectionLimiter,
        address: Option<IpAddr>,
    ) -> Result<ConnectionPermit, LimitReached> {
        limiter.take(address, false, 0, Instant::now()).map(|(permit, evicting)| {
            assert_eq!(evicting, None);
            permit
        })
    }

    /// A connection permit is free again when it is dropped.
    #[test]
    fn connection_permit_is_free_after_drop() {
        let limiter = ConnectionLimiter::new(ConnectionLimits { all: 2, ..ANY });
        let (first, _second) = (take(&limiter, None).unwrap(), take(&limiter, None).unwrap());
        assert_eq!(take(&limiter, None).unwrap_err(), LimitReached::Full);
        assert_eq!(limiter.count(), 2);
        drop(first);
        assert!(take(&limiter, None).is_ok());
    }

    /// ConnectionLimiter limits each client by its IPv4 address or IPv6 network.
    #[test]
    fn connection_limiter_limits_each_client_address() {
        let limiter = ConnectionLimiter::new(ConnectionLimits { each: 1, ..ANY });
        let first = take(&limiter, address("192.0.2.1")).unwrap();
        for same in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert_eq!(take(&limiter, address(same)).unwrap_err(), LimitReached::ClientFull);
        }
        let _other = take(&limiter, address("192.0.2.2")).unwrap();
        let _v6 = take(&limiter, address("2001:db8::1")).unwrap();
        let same_network = take(&limiter, address("2001:db8::ffff:1:2:3"));
        assert_eq!(same_network.unwrap_err(), LimitReached::ClientFull);
        let _other_network = take(&limiter, address("2001:db8:0:1::1")).unwrap();
        let (_local, _local_too) = (take(&limiter, None).unwrap(), take(&limiter, None).unwrap());
        drop(first);
        assert!(take(&limiter, address("192.0.2.1")).is_ok());
    }

    /// ConnectionLimiter counts loopback as one client only when count_loopback is set.
    #[test]
    fn connection_limiter_counts_loopback_when_configured() {
        for (count_loopback, ok) in [(true, false), (false, true)] {
            let limiter =
                ConnectionLimiter::new(ConnectionLimits { each: 1, count_loopback, ..ANY });
            for local in ["127.0.0.1", "::1"] {
                let _first = take(&limiter, address(local)).unwrap();
                assert_eq!(take(&limiter, address(local)).is_ok(), ok, "{local}");
            }
        }
    }

    /// At the limit a new connection evicts the one unregistered for longest.
    #[test]
    fn connection_limiter_evicts_longest_unregistered() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let limiter = ConnectionLimiter::new(ConnectionLimits { all: 2, ..ANY });
        let take = |worker, now| limiter.take(None, false, worker, now);
        let (first, _) = take(7, start).unwrap();
        let (mut second, _) = take(8, start).unwrap();
        // The peer may still be in its handshake.
        assert_eq!(take(1, start).unwrap_err(), LimitReached::Full);
        let (third, evicting) = take(1, later).unwrap();
        assert_eq!(evicting, Some(Eviction { worker: 7, permit: first.number() }));
        assert_eq!(limiter.count(), 3, "until the first one has ended");
        drop(first);
        assert_eq!(limiter.count(), 2);
        // A registered peer stays.
        second.register();
        assert_eq!(take(1, later).unwrap_err(), LimitReached::Full, "the third has just come");
        let (_fourth, evicting) = take(1, later + Duration::from_secs(1)).unwrap();
        assert_eq!(evicting, Some(Eviction { worker: 1, permit: third.number() }));
        // It authenticated before its worker received the eviction: it stays, and counts.
        let mut third = third;
        third.register();
        assert_eq!(take(1, later + Duration::from_secs(9)).unwrap().1.map(|l| l.worker), Some(1));
    }

    /// Registered peers stay, except evictable ones, and those only while they are evictable.
    #[test]
    fn connection_limiter_evicts_registered_only_if_evictable() {
        let later = Instant::now() + Duration::from_secs(9);
        let limiter = ConnectionLimiter::new(ConnectionLimits { all: 3, ..ANY });
        let take = |worker| limiter.take(None, false, worker, later);
        let mut known: Vec<_> = (7..10).map(|worker| take(worker).unwrap().0).collect();
        known.iter_mut().for_each(ConnectionPermit::register);
        assert_eq!(take(1).unwrap_err(), LimitReached::Full);
        known[1].set_evictable(true);
        known[2].set_evictable(true);
        known[2].set_evictable(false);
        assert!(known[1].is_evictable() && !known[2].is_evictable());
        let (fourth, evicting) = take(1).unwrap();
        assert_eq!(evicting, Some(Eviction { worker: 8, permit: known[1].number() }));
        // It was evicted, and its upload makes progress again: it stays, and counts.
        known[1].set_evictable(false);
        assert!(!known[1].is_evictable());
        assert_eq!(limiter.count(), 4);
        drop(fourth);
        assert_eq!(take(1).unwrap_err(), LimitReached::Full);
        known[1].set_evictable(true);
        let (_fifth, evicting) = take(1).unwrap();
        assert_eq!(evicting.map(|evicting| evicting.worker), Some(8));
        drop(known.remove(1));
        assert_eq!(limiter.count(), 3);
        assert_eq!(take(1).unwrap_err(), LimitReached::Full, "the fifth has just come");
    }

    /// Peers without a key share a part of the permits, and others still find one.
    #[test]
    fn connection_limiter_bounds_keyless_peers() {
        let limiter = ConnectionLimiter::new(ConnectionLimits { all: 4, keyless: 3, ..ANY });
        let now = Instant::now();
        let take = |keyless| limiter.take(None, keyless, 0, now).map(|(permit, _)| permit);
        let (web, _web) = (take(true).unwrap(), take(true).unwrap());
        let _zput = limiter.keyless().try_acquire().unwrap();
        assert_eq!(take(true).unwrap_err(), LimitReached::Full);
        assert!(take(false).is_ok(), "there is a permit for a peer with a key");
        drop(web);
        assert!(take(true).is_ok());
    }
}
