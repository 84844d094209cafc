//! Somebody on the line between a client and a server.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use zput_proto::keys::Remote;

use super::server::{RawServer, locked};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What is done to a stream. Offsets count the bytes of one connection and direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The byte at this offset is XORed with this mask.
    Flip(u64, u8),
    /// Nothing passes from this offset on, and both sides are hung up on.
    Cut(u64),
    /// So many bytes from this offset on do not arrive.
    Drop(u64, usize),
    /// So many bytes behind this offset arrive twice.
    Duplicate(u64, usize),
    /// These arrive before the byte at this offset.
    Insert(u64, Vec<u8>),
    /// These arrive instead of what was sent from this offset on.
    Replace(u64, Vec<u8>),
}

/// What passed over one connection, as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The bytes that the client sent.
    pub up: Vec<u8>,
    /// The bytes that the server sent.
    pub down: Vec<u8>,
}

/// A proxy on loopback that records every connection and damages those it was told to.
pub struct Proxy {
    raw: RawServer,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    damage: Mutex<Option<(Direction, Damage)>>,
    recorded: Mutex<Vec<Arc<Mutex<Conversation>>>>,
}

/// Once damage is done and nothing has moved in either direction for this long, each side waits for
/// bytes that never come: both are hung up on.
const PATIENCE_AFTER_DAMAGE: Duration = Duration::from_millis(800);

impl Proxy {
    /// Stands before the server at `target`.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let passing = shared.clone();
        let raw = RawServer::new(move |client| {
            // An end of either side is the other's too.
            let _ended = pass(client, target, &passing);
        });
        Self { raw, shared }
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.raw.address()
    }

    /// Where it listens, as a key file says it.
    #[must_use]
    pub fn remote(&self) -> Remote {
        self.raw.remote()
    }

    /// Does this to each connection from now on.
    pub fn damage(&self, direction: Direction, damage: Damage) {
        *locked(&self.shared.damage) = Some((direction, damage));
    }

    /// Passes everything on from now on.
    pub fn pass(&self) {
        *locked(&self.shared.damage) = None;
    }

    /// What passed over every connection since the last time.
    #[must_use]
    pub fn recorded(&self) -> Vec<Conversation> {
        let recorded = std::mem::take(&mut *locked(&self.shared.recorded));
        recorded.into_iter().map(|conversation| locked(&conversation).clone()).collect()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.raw.address())
    }
}

/// One connection, as both of its threads see it.
struct Line {
    conversation: Arc<Mutex<Conversation>>,
    is_damaged: AtomicBool,
    /// When a byte last passed.
    moved: Mutex<Instant>,
}

fn pass(client: TcpStream, target: SocketAddr, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let line = Line {
        conversation: Arc::default(),
        is_damaged: AtomicBool::new(false),
        moved: Mutex::new(Instant::now()),
    };
    locked(&shared.recorded).push(line.conversation.clone());
    let damage = locked(&shared.damage).clone();
    let of = |direction| match &damage {
        Some((damaged, damage)) if *damaged == direction => Some(damage.clone()),
        _ => None,
    };
    let (up, down) = (of(Direction::Up), of(Direction::Down));
    thread::scope(|scope| {
        scope.spawn(|| pump(&client, &server, Direction::Up, up, &line));
        pump(&server, &client, Direction::Down, down, &line);
    });
    Ok(())
}

/// Passes bytes on until the line is cut.
fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    direction: Direction,
    damage: Option<Damage>,
    line: &Line,
) {
    let mut tampering = Tampering { damage, offset: 0, kept: VecDeque::new() };
    let mut block = [0; 65_536];
    let _is_set = from.set_read_timeout(Some(Duration::from_millis(10)));
    loop {
        match from.read(&mut block) {
            Ok(0) => break,
            Ok(received) => {
                *locked(&line.moved) = Instant::now();
                let bytes = &block[..received];
                {
                    let mut conversation = locked(&line.conversation);
                    match direction {
                        Direction::Up => conversation.up.extend_from_slice(bytes),
                        Direction::Down => conversation.down.extend_from_slice(bytes),
                    }
                }
                let passed = tampering.apply(bytes);
                if passed.has_damaged {
                    line.is_damaged.store(true, Ordering::Release);
                }
                if to.write_all(&passed.bytes).is_err() || passed.cut {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                let idle = locked(&line.moved).elapsed();
                if line.is_damaged.load(Ordering::Acquire) && idle >= PATIENCE_AFTER_DAMAGE {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    // What was passed on already still arrives; the other direction ends by itself, or by patience.
    line.is_damaged.store(true, Ordering::Release);
    let _ended = to.shutdown(Shutdown::Write);
    let _ended = from.shutdown(Shutdown::Read);
}

/// Damage to one stream, wherever its reads are cut.
struct Tampering {
    damage: Option<Damage>,
    offset: u64,
    kept: VecDeque<u8>,
}

struct Passed {
    bytes: Vec<u8>,
    has_damaged: bool,
    cut: bool,
}

impl Tampering {
    fn apply(&mut self, bytes: &[u8]) -> Passed {
        let mut passed = Passed { bytes: Vec::new(), has_damaged: false, cut: false };
        for &byte in bytes {
            let at = self.offset;
            self.offset += 1;
            match &self.damage {
                Some(Damage::Flip(offset, mask)) if at == *offset => {
                    passed.bytes.push(byte ^ mask);
                    passed.has_damaged = true;
                }
                Some(Damage::Cut(offset)) if at >= *offset => {
                    passed.has_damaged = true;
                    passed.cut = true;
                    return passed;
                }
                Some(Damage::Drop(offset, count))
                    if (*offset..*offset + *count as u64).contains(&at) =>
                {
                    passed.has_damaged = true;
                }
                Some(Damage::Duplicate(offset, count))
                    if (*offset..*offset + *count as u64).contains(&at) =>
                {
                    passed.bytes.push(byte);
                    self.kept.push_back(byte);
                    if self.kept.len() == *count {
                        passed.bytes.extend(self.kept.drain(..));
                        passed.has_damaged = true;
                    }
                }
                Some(Damage::Insert(offset, inserted)) if at == *offset => {
                    passed.bytes.extend_from_slice(inserted);
                    passed.bytes.push(byte);
                    passed.has_damaged = true;
                }
                Some(Damage::Replace(offset, instead)) if at >= *offset => {
                    if at == *offset {
                        passed.bytes.extend_from_slice(instead);
                    }
                    passed.has_damaged = true;
                }
                _ => passed.bytes.push(byte),
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(damage: Damage, cut_at: usize) -> (Vec<u8>, bool) {
        let mut tampering = Tampering { damage: Some(damage), offset: 0, kept: VecDeque::new() };
        let (front, back) = b"abcdefgh".split_at(cut_at);
        let mut bytes = Vec::new();
        let mut has_damaged = false;
        for piece in [front, back] {
            let passed = tampering.apply(piece);
            bytes.extend(passed.bytes);
            has_damaged |= passed.has_damaged;
            if passed.cut {
                break;
            }
        }
        (bytes, has_damaged)
    }

    /// The tests that use a proxy are worth as much as its damage is real.
    #[test]
    fn proxy_damage_is_the_same_however_reads_are_split() {
        for cut in 0..=8 {
            let done = |bytes: &[u8]| (bytes.to_vec(), true);
            assert_eq!(damaged(Damage::Flip(2, 1), cut), done(b"abbdefgh"));
            assert_eq!(damaged(Damage::Cut(3), cut), done(b"abc"));
            assert_eq!(damaged(Damage::Drop(2, 3), cut), done(b"abfgh"));
            assert_eq!(damaged(Damage::Duplicate(2, 3), cut), done(b"abcdecdefgh"));
            assert_eq!(damaged(Damage::Insert(2, b"XY".to_vec()), cut), done(b"abXYcdefgh"));
            assert_eq!(damaged(Damage::Replace(2, b"XY".to_vec()), cut), done(b"abXY"));
            assert_eq!(damaged(Damage::Flip(8, 1), cut), (b"abcdefgh".to_vec(), false));
        }
    }
}
