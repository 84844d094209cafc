//! The connection limits: over all, for each client, and for peers that nobody here knows.
//!
//! A peer that has not said yet who it is holds its seat only as long as nobody else needs it: where all
//! are taken, the next one that arrives takes the place of the one that has been unknown for longest, or else of one whose
//! upload stands still.
//! Peers without a key have a part of the seats, so that devices with an account find one.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::permits::{Permit, Permits};

/// Time that a peer has in any case to say who it is: a handshake over a slow line.
const UNKNOWN_AT_LEAST: Duration = Duration::from_secs(1);

/// The number of the next seat of any server in this process, 1 for the first: their order is that in which their
/// connections were accepted.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The most connections at once that were told to make room and have not ended yet. They go beyond the
/// limit.
pub(crate) const LEAVING_MAX: usize = 64;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeatLimits {
    /// In all.
    pub(crate) all: usize,
    /// Of one client.
    pub(crate) each: usize,
    /// Whether peers on the loopback interface are a client as well.
    pub(crate) count_loopback: bool,
    /// Of peers without a key.
    pub(crate) keyless: usize,
}

/// How many connections there may be, and are.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    taken: Arc<Mutex<Taken>>,
    limits: SeatLimits,
    keyless: Permits,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Of these, those that were told to make room.
    leaving: usize,
    /// Of each client that has any.
    by_client: HashMap<IpAddr, usize>,
    /// Those of peers that have not said yet who they are, in the order they came.
    unknown: BTreeMap<u64, Unknown>,
    /// Those that yield, and their workers, in the order they came.
    yielding: BTreeMap<u64, usize>,
}

#[derive(Debug)]
struct Unknown {
    since: Instant,
    worker: usize,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// All are taken.
    Full,
    /// This client has as many as one may have.
    ClientFull,
}

/// A connection that has to make room, and the worker that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// Which worker.
    pub(crate) worker: usize,
    /// Which seat.
    pub(crate) seat: u64,
}

/// One connection's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Arc<Mutex<Taken>>,
    client: Option<IpAddr>,
    number: u64,
    worker: usize,
    known: bool,
    yields: bool,
    /// The share of a peer that has no key, whoever it says it is.
    _keyless: Option<Permit>,
}

impl Seats {
    /// As many as `limits` say, all free.
    pub(crate) fn new(limits: SeatLimits) -> Self {
        let keyless = Permits::new(limits.keyless);
        Self { taken: Arc::default(), limits, keyless }
    }

    /// Shares of peers without a key.
    pub(crate) fn keyless(&self) -> &Permits {
        &self.keyless
    }

    /// A seat at `worker` for a peer at this address, if it has one: a peer on this machine by a Unix socket is
    /// nobody's client. One that is `keyless` has no key, whatever it says. Where all are taken it comes with
    /// a connection that has to make room.
    ///
    /// # Errors
    /// When all are taken, or all that this client or peers without a key may have.
    pub(crate) fn take(
        &self,
        address: Option<IpAddr>,
        keyless: bool,
        worker: usize,
        now: Instant,
    ) -> Result<(Seat, Option<Leaving>), NoSeat> {
        let counts =
            |address: &IpAddr| self.limits.count_loopback || !address.to_canonical().is_loopback();
        let client = address.filter(counts).map(client_of);
        let mut taken = lock(&self.taken);
        let of_client = client.and_then(|client| taken.by_client.get(&client)).copied();
        if client.is_some() && of_client.unwrap_or(0) >= self.limits.each {
            return Err(NoSeat::ClientFull);
        }
        let permit = if keyless { Some(self.keyless.permit().ok_or(NoSeat::Full)?) } else { None };
        let leaving = if taken.all - taken.leaving >= self.limits.all {
            Some(taken.make_room(now).ok_or(NoSeat::Full)?)
        } else {
            None
        };
        taken.all += 1;
        if let Some(client) = client {
            *taken.by_client.entry(client).or_default() += 1;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if !keyless {
            taken.unknown.insert(number, Unknown { since: now, worker });
        }
        let taken = Arc::clone(&self.taken);
        let seat =
            Seat { taken, client, number, worker, known: keyless, yields: false, _keyless: permit };
        Ok((seat, leaving))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        lock(&self.taken).all
    }
}

impl Taken {
    /// The connection that has been unknown for longest, if that is long enough; or else the first of those that yield.
    fn make_room(&mut self, now: Instant) -> Option<Leaving> {
        if self.leaving >= LEAVING_MAX {
            return None;
        }
        let waited = |unknown: &Unknown| now.saturating_duration_since(unknown.since);
        let unknown = self.unknown.first_key_value().filter(|(_, u)| waited(u) >= UNKNOWN_AT_LEAST);
        let unknown = unknown.map(|(seat, unknown)| (*seat, unknown.worker));
        let yielding = || self.yielding.first_key_value().map(|(seat, worker)| (*seat, *worker));
        let (seat, worker) = unknown.or_else(yielding)?;
        self.unknown.remove(&seat);
        self.yielding.remove(&seat);
        self.leaving += 1;
        Some(Leaving { worker, seat })
    }

    /// A seat that was an unknown peer's, or yielded, does so no more.
    fn settle(&mut self, number: u64) {
        if self.unknown.remove(&number).is_none() && self.yielding.remove(&number).is_none() {
            // It was told to make room, and has come to an end by itself.
            self.leaving = self.leaving.saturating_sub(1);
        }
    }
}

impl Seat {
    /// Its number, by which it is told to make room; greater than that of every connection that was accepted before.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether it may be told to make room: its peer has not said who it is, or it yields.
    pub(crate) const fn may_go(&self) -> bool {
        !self.known || self.yields
    }

    /// Whether it makes room for somebody who needs it, though its peer is known.
    pub(crate) fn yields(&mut self, yields: bool) {
        if !self.known || std::mem::replace(&mut self.yields, yields) == yields {
            return;
        }
        let mut taken = lock(&self.taken);
        if yields {
            taken.yielding.insert(self.number, self.worker);
        } else {
            taken.settle(self.number);
        }
    }

    /// Its peer has said who it is.
    pub(crate) fn known(&mut self) {
        if !std::mem::replace(&mut self.known, true) {
            lock(&self.taken).settle(self.number);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
        if self.may_go() {
            taken.settle(self.number);
        }
        if let Some(client) = self.client
            && let Some(of_client) = taken.by_client.get_mut(&client)
        {
            *of_client = of_client.saturating_sub(1);
            if *of_client == 0 {
                taken.by_client.remove(&client);
            }
        }
    }
}

/// Whoever has one address of an IPv6 network of 64 bits has all of them (RFC 4291, 2.5.4).
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Counts are whole at all times: a thread that panicked left them so.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SeatLimits = SeatLimits { all: 9, each: 9, count_loopback: true, keyless: 9 };

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn take(seats: &Seats, address: Option<IpAddr>) -> Result<Seat, NoSeat> {
        seats.take(address, false, 0, Instant::now()).map(|(seat, leaving)| {
            assert_eq!(leaving, None);
            seat
        })
    }

    #[test]
    fn a_seat_is_free_again_once_its_owner_is_gone() {
        let seats = Seats::new(SeatLimits { all: 2, ..ANY });
        let (first, _second) = (take(&seats, None).unwrap(), take(&seats, None).unwrap());
        assert_eq!(take(&seats, None).unwrap_err(), NoSeat::Full);
        assert_eq!(seats.taken(), 2);
        drop(first);
        assert!(take(&seats, None).is_ok());
    }

    #[test]
    fn one_client_does_not_take_all_seats() {
        let seats = Seats::new(SeatLimits { each: 1, ..ANY });
        let first = take(&seats, address("192.0.2.1")).unwrap();
        for same in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert_eq!(take(&seats, address(same)).unwrap_err(), NoSeat::ClientFull);
        }
        let _other = take(&seats, address("192.0.2.2")).unwrap();
        let _v6 = take(&seats, address("2001:db8::1")).unwrap();
        let same_network = take(&seats, address("2001:db8::ffff:1:2:3"));
        assert_eq!(same_network.unwrap_err(), NoSeat::ClientFull);
        let _other_network = take(&seats, address("2001:db8:0:1::1")).unwrap();
        let (_local, _local_too) = (take(&seats, None).unwrap(), take(&seats, None).unwrap());
        drop(first);
        assert!(take(&seats, address("192.0.2.1")).is_ok());
    }

    #[test]
    fn this_machine_is_a_client_where_the_operator_says_so() {
        for (count_loopback, ok) in [(true, false), (false, true)] {
            let seats = Seats::new(SeatLimits { each: 1, count_loopback, ..ANY });
            for local in ["127.0.0.1", "::1"] {
                let _first = take(&seats, address(local)).unwrap();
                assert_eq!(take(&seats, address(local)).is_ok(), ok, "{local}");
            }
        }
    }

    #[test]
    fn who_is_not_known_makes_room() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let seats = Seats::new(SeatLimits { all: 2, ..ANY });
        let take = |worker, now| seats.take(None, false, worker, now);
        let (first, _) = take(7, start).unwrap();
        let (mut second, _) = take(8, start).unwrap();
        // It may still be shaking hands.
        assert_eq!(take(1, start).unwrap_err(), NoSeat::Full);
        let (third, leaving) = take(1, later).unwrap();
        assert_eq!(leaving, Some(Leaving { worker: 7, seat: first.number() }));
        assert_eq!(seats.taken(), 3, "until the first one is gone");
        drop(first);
        assert_eq!(seats.taken(), 2);
        // Who is known stays.
        second.known();
        assert_eq!(take(1, later).unwrap_err(), NoSeat::Full, "the third has just come");
        let (_fourth, leaving) = take(1, later + Duration::from_secs(1)).unwrap();
        assert_eq!(leaving, Some(Leaving { worker: 1, seat: third.number() }));
        // It said who it is before it heard that it was to go: it stays, and counts.
        let mut third = third;
        third.known();
        assert_eq!(take(1, later + Duration::from_secs(9)).unwrap().1.map(|l| l.worker), Some(1));
    }

    /// Whoever is known stays, but for those that yield; and no longer than they do.
    #[test]
    fn who_yields_makes_room_behind_those_who_are_not_known() {
        let later = Instant::now() + Duration::from_secs(9);
        let seats = Seats::new(SeatLimits { all: 3, ..ANY });
        let take = |worker| seats.take(None, false, worker, later);
        let mut known: Vec<_> = (7..10).map(|worker| take(worker).unwrap().0).collect();
        known.iter_mut().for_each(Seat::known);
        assert_eq!(take(1).unwrap_err(), NoSeat::Full);
        known[1].yields(true);
        known[2].yields(true);
        known[2].yields(false);
        assert!(known[1].may_go() && !known[2].may_go());
        let (fourth, leaving) = take(1).unwrap();
        assert_eq!(leaving, Some(Leaving { worker: 8, seat: known[1].number() }));
        // It was told, and goes on after all: it stays, and counts.
        known[1].yields(false);
        assert!(!known[1].may_go());
        assert_eq!(seats.taken(), 4);
        drop(fourth);
        assert_eq!(take(1).unwrap_err(), NoSeat::Full);
        known[1].yields(true);
        let (_fifth, leaving) = take(1).unwrap();
        assert_eq!(leaving.map(|leaving| leaving.worker), Some(8));
        drop(known.remove(1));
        assert_eq!(seats.taken(), 3);
        assert_eq!(take(1).unwrap_err(), NoSeat::Full, "the fifth has just come");
    }

    #[test]
    fn who_has_no_key_has_a_part_of_the_seats() {
        let seats = Seats::new(SeatLimits { all: 4, keyless: 3, ..ANY });
        let now = Instant::now();
        let take = |keyless| seats.take(None, keyless, 0, now).map(|(seat, _)| seat);
        let (web, _web) = (take(true).unwrap(), take(true).unwrap());
        let _zput = seats.keyless().permit().unwrap();
        assert_eq!(take(true).unwrap_err(), NoSeat::Full);
        assert!(take(false).is_ok(), "there is a seat for who has a key");
        drop(web);
        assert!(take(true).is_ok());
    }
}
