//! A proxy that forwards and records all bytes, until it cuts, holds or discards a stream.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use zput_testkit::PATIENCE;

/// How soon a pump notices that it is to stop.
const TICK: Duration = Duration::from_millis(10);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What happens to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All bytes pass in both directions.
    Pass,
    /// This many bytes pass this way; then both connections are closed.
    Cut(Way, u64),
    /// This many bytes pass this way; then no more do until [`Cutter::let_go`], with no error.
    Hold(Way, u64),
    /// This many bytes pass this way; then all bytes of both sides are discarded, answers too, and
    /// neither side sees the other end. So it is behind a proxy that hangs: its kernel acknowledges
    /// all bytes and keep-alives.
    Swallow(Way, u64),
    /// All bytes pass, and one bit of the byte at this offset is flipped.
    Flip(Way, u64),
}

/// What was sent over one connection, as far as it passed.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// The bytes that the client sent.
    pub up: Vec<u8>,
    /// The bytes that the server sent.
    pub down: Vec<u8>,
}

/// A proxy on loopback. All that it has started has ended when it is dropped.
pub struct Cutter {
    address: String,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    target: Mutex<String>,
    /// Of the connections to come; those behind pass.
    fates: Mutex<VecDeque<Fate>>,
    talks: Mutex<Vec<Arc<Mutex<Talk>>>>,
    /// Both sockets of each connection, to close them.
    streams: Mutex<Vec<TcpStream>>,
    pumps: Mutex<Vec<JoinHandle<()>>>,
    /// How often held bytes were let go.
    let_go: AtomicUsize,
    is_over: AtomicBool,
}

impl Cutter {
    /// Stands before the server at `target`.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn new(target: &str) -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port on loopback: {e}"));
        let address = listener.local_addr().map(|address| address.to_string());
        let address = address.unwrap_or_else(|e| panic!("a listener without address: {e}"));
        let shared = Arc::new(Shared {
            target: Mutex::new(target.to_owned()),
            fates: Mutex::default(),
            talks: Mutex::default(),
            streams: Mutex::default(),
            pumps: Mutex::default(),
            let_go: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let listening = shared.clone();
        let listening = thread::spawn(move || {
            for client in listener.incoming() {
                if listening.is_over() {
                    return;
                }
                if let Ok(client) = client {
                    // A server that is not there hangs up on the client.
                    let _connected = connect(client, &listening);
                }
            }
        });
        Self { address, shared, listening: Some(listening) }
    }

    /// The address that it listens on: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on the server is somewhere else.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut locked(&self.shared.target));
    }

    /// What happens to the connections to come, one after the other. Those behind them pass.
    pub fn plan(&self, fates: impl IntoIterator<Item = Fate>) {
        *locked(&self.shared.fates) = fates.into_iter().collect();
    }

    /// What is held up passes from now on.
    pub fn let_go(&self) {
        self.shared.let_go.fetch_add(1, Ordering::Release);
    }

    /// Closes all connections.
    pub fn hang_up(&self) {
        for stream in locked(&self.shared.streams).drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    /// What was sent since the last time.
    #[must_use]
    pub fn talks(&self) -> Vec<Talk> {
        let talks = std::mem::take(&mut *locked(&self.shared.talks));
        talks.into_iter().map(|talk| locked(&talk).clone()).collect()
    }

    /// What was sent since the last time, also over connections that are open.
    #[must_use]
    pub fn so_far(&self) -> Vec<Talk> {
        locked(&self.shared.talks).iter().map(|talk| locked(talk).clone()).collect()
    }

    /// Waits until this many bytes have passed this way on the latest connection.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait_for(&self, way: Way, bytes: u64) {
        let begun = Instant::now();
        loop {
            let passed = locked(&self.shared.talks).last().map_or(0, |talk| {
                let talk = locked(talk);
                if way == Way::Up { talk.up.len() } else { talk.down.len() }
            });
            if passed as u64 >= bytes {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{passed} of {bytes} bytes passed");
            thread::sleep(TICK);
        }
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cutter({})", self.address)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the listener.
        let _woken = TcpStream::connect(&self.address);
        if let Some(listening) = self.listening.take() {
            let _ended = listening.join();
        }
        self.hang_up();
        for pump in locked(&self.shared.pumps).drain(..) {
            let _ended = pump.join();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let target = locked(&shared.target).clone();
    let server = TcpStream::connect(target)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        locked(&shared.streams).push(stream.try_clone()?);
    }
    let fate = locked(&shared.fates).pop_front().unwrap_or(Fate::Pass);
    let talk = Arc::new(Mutex::new(Talk::default()));
    locked(&shared.talks).push(talk.clone());
    let is_silent = Arc::new(AtomicBool::new(false));
    for (way, from, to) in [
        (Way::Up, client.try_clone()?, server.try_clone()?),
        (Way::Down, server.try_clone()?, client.try_clone()?),
    ] {
        let (talk, shared_too, is_silent) = (talk.clone(), shared.clone(), is_silent.clone());
        let pump = thread::spawn(move || {
            // An end of either side is the other's too.
            let _ended = pump(&from, &to, way, fate, &talk, &is_silent, &shared_too);
        });
        locked(&shared.pumps).push(pump);
    }
    Ok(())
}

fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    way: Way,
    fate: Fate,
    talk: &Mutex<Talk>,
    is_silent: &AtomicBool,
    shared: &Shared,
) -> io::Result<()> {
    let let_go = shared.let_go.load(Ordering::Acquire);
    let is_let_go = || shared.let_go.load(Ordering::Acquire) > let_go;
    let (mut limit, is_cut) = match fate {
        Fate::Cut(of, limit) if of == way => (limit, true),
        Fate::Hold(of, limit) | Fate::Swallow(of, limit) if of == way => (limit, false),
        Fate::Pass | Fate::Cut(..) | Fate::Hold(..) | Fate::Swallow(..) | Fate::Flip(..) => {
            (u64::MAX, false)
        }
    };
    let flipped = match fate {
        Fate::Flip(of, at) if of == way => Some(at),
        _ => None,
    };
    let mut block = vec![0; 256 * 1024];
    let mut passed = 0;
    while passed < limit || !is_cut {
        if passed == limit && matches!(fate, Fate::Swallow(..)) {
            is_silent.store(true, Ordering::Release);
            limit = u64::MAX;
        }
        if passed == limit {
            // Held up.
            if shared.is_over() {
                return Ok(());
            }
            thread::sleep(TICK);
            if is_let_go() {
                limit = u64::MAX;
            }
            continue;
        }
        let room = usize::try_from(limit - passed).map_or(block.len(), |n| n.min(block.len()));
        match from.read(&mut block[..room]) {
            Ok(0) if is_silent.load(Ordering::Acquire) => return Ok(()),
            Ok(0) => {
                to.shutdown(Shutdown::Write)?;
                return Ok(());
            }
            Ok(_) if is_silent.load(Ordering::Acquire) => {}
            Ok(received) => {
                // Before it is written: what a peer has read is known to have passed.
                {
                    let mut talk = locked(talk);
                    let written = if way == Way::Up { &mut talk.up } else { &mut talk.down };
                    written.extend_from_slice(&block[..received]);
                }
                let bytes = &mut block[..received];
                let at = flipped.and_then(|at| usize::try_from(at.checked_sub(passed)?).ok());
                if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
                    *byte ^= 1;
                }
                to.write_all(bytes)?;
                passed += received as u64;
            }
            // signal(7): a read with a time limit is interrupted when the process is stopped.
            Err(e) if is_for_now(e.kind()) => {
                if shared.is_over() {
                    return Ok(());
                }
            }
            Err(_) if is_silent.load(Ordering::Acquire) => return Ok(()),
            Err(_) => {
                // Reset by one side: so it is to the other.
                return to.shutdown(Shutdown::Both);
            }
        }
    }
    // What has passed arrives: a side that may send no more, but may be sent to, is not reset
    // before it has read all.
    to.shutdown(Shutdown::Write)?;
    from.shutdown(Shutdown::Both)
}

fn is_for_now(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server for this many connections.
    fn echo(times: usize) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = thread::spawn(move || {
            for stream in listener.incoming().take(times) {
                let stream = stream.unwrap();
                let _ended = io::copy(&mut &stream, &mut &stream);
            }
        });
        (address, serving)
    }

    /// Cutter cuts a connection at the set byte and records the bytes that passed.
    #[test]
    fn cutter_cuts_connection_at_set_byte_and_records_what_passed() {
        let (address, serving) = echo(3);
        let cutter = Cutter::new(&address);
        cutter.plan([Fate::Cut(Way::Up, 3), Fate::Cut(Way::Down, 2)]);
        for (up, down) in [(3, None), (6, Some(2)), (6, Some(6))] {
            let mut client = TcpStream::connect(cutter.address()).unwrap();
            client.write_all(b"abcdef").unwrap();
            cutter.wait_for(Way::Up, up as u64);
            let mut got = vec![0; down.unwrap_or(0)];
            client.read_exact(&mut got).unwrap();
            if down != Some(6) {
                // It ends by itself, in order or not; what was on its way back is lost with it.
                let _ended = client.read_to_end(&mut Vec::new());
            }
            let talk = cutter.talks().remove(0);
            assert_eq!(talk.up, b"abcdef"[..up]);
            if let Some(down) = down {
                assert_eq!((&got[..], &talk.down[..]), (&b"abcdef"[..down], &b"abcdef"[..down]));
            }
        }
        drop(cutter);
        serving.join().unwrap();
    }

    /// Behind the point of Fate::Swallow neither bytes nor the close of a connection pass.
    #[test]
    fn cutter_swallow_forwards_neither_bytes_nor_close() {
        let (address, serving) = echo(2);
        let cutter = Cutter::new(&address);
        cutter.plan([Fate::Swallow(Way::Up, 3), Fate::Swallow(Way::Down, 3)]);
        for way in [Way::Up, Way::Down] {
            let mut client = TcpStream::connect(cutter.address()).unwrap();
            client.write_all(b"abcdef").unwrap();
            cutter.wait_for(way, 3);
            // Of the answer to what passed on its way up, as much arrives as was faster than the
            // silence.
            let mut got = vec![0; if way == Way::Down { 3 } else { 0 }];
            client.read_exact(&mut got).unwrap();
            client.write_all(&[7; 1_000_000]).unwrap();
            client.set_read_timeout(Some(10 * TICK)).unwrap();
            let nothing = client.read_to_end(&mut got).unwrap_err();
            assert!(is_for_now(nothing.kind()), "{nothing}");
            drop(client);
            // The server still waits for it.
            thread::sleep(10 * TICK);
            assert!(!serving.is_finished());
            let talk = cutter.talks().remove(0);
            assert!(talk.down.starts_with(&got), "{talk:?}");
            match way {
                Way::Up => assert!(talk.up == b"abc" && b"abc".starts_with(&talk.down), "{talk:?}"),
                Way::Down => assert_eq!((&talk.down[..], &got[..]), (&b"abc"[..], &b"abc"[..])),
            }
            cutter.hang_up();
        }
        serving.join().unwrap();
    }

    /// Fate::Flip changes one bit of one connection and nothing else.
    #[test]
    fn cutter_flip_changes_one_bit_only() {
        let (address, serving) = echo(3);
        let cutter = Cutter::new(&address);
        cutter.plan([Fate::Flip(Way::Up, 2), Fate::Flip(Way::Down, 5)]);
        for arrives in [&b"abbdef"[..], b"abcdeg", b"abcdef"] {
            let mut client = TcpStream::connect(cutter.address()).unwrap();
            client.write_all(b"abcdef").unwrap();
            let mut got = [0; 6];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, arrives);
        }
        drop(cutter);
        serving.join().unwrap();
    }
}
