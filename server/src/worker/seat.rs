//! The connection limits: over all, and for each client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many connections there may be, and are.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    taken: Arc<Mutex<Taken>>,
    most: usize,
    most_each: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Of each client that has any.
    by_client: HashMap<IpAddr, usize>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// All are taken.
    Full,
    /// This client has as many as one may have.
    ClientFull,
}

/// One connection's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Arc<Mutex<Taken>>,
    client: Option<IpAddr>,
}

impl Seats {
    /// `most` seats, all free, and at most `most_each` for one client.
    pub(crate) fn new(most: usize, most_each: usize) -> Self {
        Self { taken: Arc::default(), most, most_each }
    }

    /// A seat for a peer at this address, if it has one: a peer on this machine by a Unix socket is nobody's client.
    ///
    /// # Errors
    /// When all are taken, or all that this client may have.
    pub(crate) fn take(&self, address: Option<IpAddr>) -> Result<Seat, NoSeat> {
        let client = address.map(client_of);
        let mut taken = lock(&self.taken);
        if taken.all >= self.most {
            return Err(NoSeat::Full);
        }
        if let Some(client) = client {
            let of_client = taken.by_client.entry(client).or_default();
            if *of_client >= self.most_each {
                return Err(NoSeat::ClientFull);
            }
            *of_client += 1;
        }
        taken.all += 1;
        Ok(Seat { taken: Arc::clone(&self.taken), client })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        lock(&self.taken).all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
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

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_seat_is_free_again_once_its_owner_is_gone() {
        let seats = Seats::new(2, 2);
        let (first, _second) = (seats.take(None).unwrap(), seats.take(None).unwrap());
        assert_eq!(seats.take(None).unwrap_err(), NoSeat::Full);
        assert_eq!(seats.taken(), 2);
        drop(first);
        assert!(seats.take(None).is_ok());
    }

    #[test]
    fn one_client_does_not_take_all_seats() {
        let seats = Seats::new(9, 1);
        let first = seats.take(address("192.0.2.1")).unwrap();
        for same in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert_eq!(seats.take(address(same)).unwrap_err(), NoSeat::ClientFull);
        }
        let _other = seats.take(address("192.0.2.2")).unwrap();
        let _v6 = seats.take(address("2001:db8::1")).unwrap();
        let same_network = seats.take(address("2001:db8::ffff:1:2:3"));
        assert_eq!(same_network.unwrap_err(), NoSeat::ClientFull);
        let _other_network = seats.take(address("2001:db8:0:1::1")).unwrap();
        let (_local, _local_too) = (seats.take(None).unwrap(), seats.take(None).unwrap());
        drop(first);
        assert!(seats.take(address("192.0.2.1")).is_ok());
    }
}
