//! A rate limit for each line of the log.
//!
//! A peer can cause almost every line of a server's log as often as it likes: by requests that are
//! denied, by gets of a file that the disk cannot read, by connections that break. So each place in
//! the code has a token bucket, over all peers and for each peer's address. Lines beyond it are
//! suppressed and counted, and one line reports their number once there are tokens again. Debug
//! lines have no limit.

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

/// The target of the lines that report suppressed lines; they have no limit.
const TARGET: &str = "zput_server::log";

/// Number of lines suppressed since the process started.
static SUPPRESSED_LINES: AtomicU64 = AtomicU64::new(0);

/// Number of lines suppressed since the process started.
pub(super) fn suppressed_lines() -> u64 {
    SUPPRESSED_LINES.load(Relaxed)
}

/// Suppresses lines beyond the token bucket of their place in the code.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<TokenBuckets>);

#[derive(Debug, Default)]
struct TokenBuckets {
    /// At most as many as there are places in the code that log.
    places: HashMap<Identifier, TokenBucket>,
    addresses: HashMap<(Identifier, String), TokenBucket>,
}

#[derive(Debug)]
struct TokenBucket {
    tokens: u32,
    /// When `tokens` was updated last.
    since: Instant,
    /// Lines suppressed since the last line that was written.
    suppressed: u64,
}

/// The decision about a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Write it, after a report of this many suppressed lines.
    Write(u64),
    Suppress,
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO || about.target() == TARGET {
            return true;
        }
        let mut peer = PeerField::default();
        event.record(&mut peer);
        let verdict = {
            let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.decide(about.callsite(), peer.0, Instant::now())
        };
        match verdict {
            Verdict::Write(0) => true,
            Verdict::Write(lines) => {
                info!(target: TARGET, lines, "similar lines suppressed");
                true
            }
            Verdict::Suppress => {
                SUPPRESSED_LINES.fetch_add(1, Relaxed);
                false
            }
        }
    }
}

impl TokenBuckets {
    fn decide(&mut self, place: Identifier, address: Option<String>, now: Instant) -> Verdict {
        let all = TokenBucket::of(&mut self.places, place.clone(), LINES_AT_ONCE, now);
        let each = address.and_then(|address| {
            if self.addresses.len() >= ADDRESSES_MAX {
                // A full bucket need not be kept.
                self.addresses.retain(|_, bucket| !bucket.is_full(LINES_AT_ONCE_EACH, now));
            }
            let room = self.addresses.len() < ADDRESSES_MAX;
            let key = (place, address);
            (room || self.addresses.contains_key(&key))
                .then(|| TokenBucket::of(&mut self.addresses, key, LINES_AT_ONCE_EACH, now))
        });
        let enough = all.tokens > 0 && each.as_ref().is_none_or(|each| each.tokens > 0);
        if !enough {
            all.suppressed += 1;
            return Verdict::Suppress;
        }
        all.tokens -= 1;
        if let Some(each) = each {
            each.tokens -= 1;
        }
        Verdict::Write(std::mem::take(&mut all.suppressed))
    }
}

impl TokenBucket {
    /// The bucket of `key`, with its tokens as of `now`.
    fn of<K: Eq + Hash>(
        all: &mut HashMap<K, Self>,
        key: K,
        capacity: u32,
        now: Instant,
    ) -> &mut Self {
        let bucket = all.entry(key).or_insert(Self { tokens: capacity, since: now, suppressed: 0 });
        let added = bucket.new_tokens(now);
        if added > 0 {
            bucket.tokens = bucket.tokens.saturating_add(added).min(capacity);
            bucket.since += LINE_EVERY * added;
        }
        bucket
    }

    /// Tokens that it got since it was updated.
    fn new_tokens(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.since);
        u32::try_from(passed.as_secs() / LINE_EVERY.as_secs()).unwrap_or(u32::MAX)
    }

    fn is_full(&self, capacity: u32, now: Instant) -> bool {
        self.tokens.saturating_add(self.new_tokens(now)) >= capacity
    }
}

/// The address in the field `peer`, without its port.
#[derive(Default)]
struct PeerField(Option<String>);

impl PeerField {
    fn set(&mut self, field: &Field, peer: &str) {
        if field.name() == "peer" {
            let address = peer.rsplit_once(':').map_or(peer, |(address, _port)| address);
            self.0 = Some(address.to_owned());
        }
    }
}

impl Visit for PeerField {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "peer" {
            self.set(field, &format!("{value:?}"));
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
            unreachable!("no subscriber is installed")
        }
    }

    static HERE: Place = Place;

    fn written(buckets: &mut TokenBuckets, times: u32, address: &str, now: Instant) -> u32 {
        let place = || Identifier(&HERE);
        let mut decide = || buckets.decide(place(), Some(address.to_owned()), now);
        (0..times).filter(|_| decide() != Verdict::Suppress).count().try_into().unwrap()
    }

    /// A peer gets six lines for each place in the code, and other peers keep their lines.
    #[test]
    fn log_limit_gives_each_peer_few_lines_per_place() {
        let (mut buckets, start) = (TokenBuckets::default(), Instant::now());
        assert_eq!(written(&mut buckets, 100_000, "192.0.2.1", start), 6);
        assert_eq!(written(&mut buckets, 1, "192.0.2.2", start), 1);
        // The next line is written when there is a token again, after a report of the others.
        let later = start + Duration::from_secs(10);
        let verdict = buckets.decide(Identifier(&HERE), Some("192.0.2.1".to_owned()), later);
        assert_eq!(verdict, Verdict::Write(0), "the other peer's line came after the report");
        assert_eq!(written(&mut buckets, 1000, "192.0.2.1", later), 0);
        let much_later = later + Duration::from_secs(600);
        let verdict = buckets.decide(Identifier(&HERE), Some("192.0.2.1".to_owned()), much_later);
        assert_eq!(verdict, Verdict::Write(1000));
        assert_eq!(written(&mut buckets, 1000, "192.0.2.1", much_later), 5);
    }

    /// Five thousand peers together get 60 lines for one place, and memory stays bounded.
    #[test]
    fn log_limit_bounds_lines_of_place_over_all_peers() {
        let (mut buckets, start) = (TokenBuckets::default(), Instant::now());
        let lines: u32 =
            (0..5000).map(|n| written(&mut buckets, 2, &format!("peer {n}"), start)).sum();
        assert_eq!(lines, 60);
        assert!(buckets.addresses.len() <= 1024, "{}", buckets.addresses.len());
        // An hour later all buckets are full, so other addresses get one.
        let later = start + Duration::from_secs(3600);
        assert_eq!(written(&mut buckets, 9, "another", later), 6);
    }
}
