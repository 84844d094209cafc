//! A rate limit for each line of the log.
//!
//! A peer can cause almost every line of a server's log as often as it likes: by requests that are
//! denied, by gets of a file that the disk cannot read, by connections that break. So each place in
//! the code has a token bucket, over all peers and for each peer's address. Lines beyond it are
//! left out and counted, and one line reports their number once there are tokens again. Debug lines
//! have no limit.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    info,
};
use tracing_subscriber::{Layer, layer::Context};

/// Size of the token bucket of one place in the code, in lines.
const LINES_AT_ONCE: u32 = 60;

/// Size of the token bucket of one place for one peer's address, in lines.
const LINES_AT_ONCE_EACH: u32 = 6;

/// Time in which a bucket gets one token: 8,640 lines a day are less than 2 MiB.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Maximum addresses with a bucket of their own.
const ADDRESSES_MAX: usize = 1024;

/// The target of the lines that report left-out lines; they have no limit.
const TARGET: &str = "zput_server::log";

/// Number of lines left out.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Number of lines left out so far.
pub(super) fn left_out() -> u64 {
    LEFT_OUT.load(Relaxed)
}

/// Leaves out lines beyond the token bucket of their place.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<Budgets>);

#[derive(Debug, Default)]
struct Budgets {
    /// At most as many as there are places in the code that log.
    places: HashMap<Identifier, Budget>,
    addresses: HashMap<(Identifier, String), Budget>,
}

#[derive(Debug)]
struct Budget {
    left: u32,
    /// When `left` was updated last.
    since: Instant,
    /// Lines left out since the last line that was written.
    out: u64,
}

/// The decision about a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Write it, after a report of this many left-out lines.
    Write(u64),
    LeaveOut,
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO || about.target() == TARGET {
            return true;
        }
        let mut peer = PeerOf::default();
        event.record(&mut peer);
        let verdict = {
            let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            budgets.decide(about.callsite(), peer.0, Instant::now())
        };
        match verdict {
            Verdict::Write(0) => true,
            Verdict::Write(lines) => {
                info!(target: TARGET, lines, "similar lines suppressed");
                true
            }
            Verdict::LeaveOut => {
                LEFT_OUT.fetch_add(1, Relaxed);
                false
            }
        }
    }
}

impl Budgets {
    fn decide(&mut self, place: Identifier, address: Option<String>, now: Instant) -> Verdict {
        let all = Budget::of(&mut self.places, place.clone(), LINES_AT_ONCE, now);
        let each = address.and_then(|address| {
            if self.addresses.len() >= ADDRESSES_MAX {
                // A full bucket need not be kept.
                self.addresses.retain(|_, budget| !budget.is_full(LINES_AT_ONCE_EACH, now));
            }
            let room = self.addresses.len() < ADDRESSES_MAX;
            let key = (place, address);
            (room || self.addresses.contains_key(&key))
                .then(|| Budget::of(&mut self.addresses, key, LINES_AT_ONCE_EACH, now))
        });
        let enough = all.left > 0 && each.as_ref().is_none_or(|each| each.left > 0);
        if !enough {
            all.out += 1;
            return Verdict::LeaveOut;
        }
        all.left -= 1;
        if let Some(each) = each {
            each.left -= 1;
        }
        Verdict::Write(std::mem::take(&mut all.out))
    }
}

impl Budget {
    /// The bucket of `key`, with its tokens as of `now`.
    fn of<K: Eq + Hash>(
        all: &mut HashMap<K, Self>,
        key: K,
        capacity: u32,
        now: Instant,
    ) -> &mut Self {
        let budget = all.entry(key).or_insert(Self { left: capacity, since: now, out: 0 });
        let come = budget.new_tokens(now);
        if come > 0 {
            budget.left = budget.left.saturating_add(come).min(capacity);
            budget.since += LINE_EVERY * come;
        }
        budget
    }

    /// Tokens that it got since it was updated.
    fn new_tokens(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.since);
        u32::try_from(passed.as_secs() / LINE_EVERY.as_secs()).unwrap_or(u32::MAX)
    }

    fn is_full(&self, capacity: u32, now: Instant) -> bool {
        self.left.saturating_add(self.new_tokens(now)) >= capacity
    }
}

/// The address in the field `peer`, without its port.
#[derive(Default)]
struct PeerOf(Option<String>);

impl PeerOf {
    fn take(&mut self, field: &Field, peer: &str) {
        if field.name() == "peer" {
            let address = peer.rsplit_once(':').map_or(peer, |(address, _port)| address);
            self.0 = Some(address.to_owned());
        }
    }
}

impl Visit for PeerOf {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "peer" {
            self.take(field, &format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::Callsite;
    use tracing::{Metadata, subscriber::Interest};

    use super::*;

    struct Place;

    impl Callsite for Place {
        fn set_interest(&self, _: Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody asks")
        }
    }

    static HERE: Place = Place;

    fn written(budgets: &mut Budgets, times: u32, address: &str, now: Instant) -> u32 {
        let place = || Identifier(&HERE);
        let mut decide = || budgets.decide(place(), Some(address.to_owned()), now);
        (0..times).filter(|_| decide() != Verdict::LeaveOut).count().try_into().unwrap()
    }

    /// A peer gets six lines for each place in the code, and other peers keep their lines.
    #[test]
    fn log_limit_gives_each_peer_few_lines_per_place() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        assert_eq!(written(&mut budgets, 100_000, "192.0.2.1", start), 6);
        assert_eq!(written(&mut budgets, 1, "192.0.2.2", start), 1);
        // The next one comes when there is budget again, and says what is missing.
        let later = start + Duration::from_secs(10);
        let verdict = budgets.decide(Identifier(&HERE), Some("192.0.2.1".to_owned()), later);
        assert_eq!(verdict, Verdict::Write(0), "the other peer's line has told of them");
        assert_eq!(written(&mut budgets, 1000, "192.0.2.1", later), 0);
        let much_later = later + Duration::from_secs(600);
        let verdict = budgets.decide(Identifier(&HERE), Some("192.0.2.1".to_owned()), much_later);
        assert_eq!(verdict, Verdict::Write(1000));
        assert_eq!(written(&mut budgets, 1000, "192.0.2.1", much_later), 5);
    }

    /// Five thousand peers together get 60 lines for one place, and memory stays bounded.
    #[test]
    fn log_limit_bounds_lines_of_place_over_all_peers() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        let lines: u32 =
            (0..5000).map(|n| written(&mut budgets, 2, &format!("peer {n}"), start)).sum();
        assert_eq!(lines, 60);
        assert!(budgets.addresses.len() <= 1024, "{}", budgets.addresses.len());
        // An hour later there is room for others.
        let later = start + Duration::from_secs(3600);
        assert_eq!(written(&mut budgets, 9, "another", later), 6);
    }
}
