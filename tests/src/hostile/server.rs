//! A server on loopback that says what a test makes it say.

use std::{
    fmt,
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use zput_proto::{
    hello::ServerLimits,
    keys::{Remote, ServerKeySeed, ServerPublicKey},
    message::{Message as _, Request, Response},
    mount::MountName,
    session::{Event, ServerConfig, ServerSession, ServerTls},
};
use zput_testkit::{PATIENCE, Wire, set_up};

use super::shelf::Shelf;

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The response, sent in a frame.
    pub response: Response,
    /// Raw, behind it. Fewer bytes than the response announces are followed by the end of the
    /// connection; more are written all the same.
    pub payload: Payload,
    /// Whether the connection ends then.
    pub hang_up: bool,
}

/// Raw bytes behind a response.
#[derive(Clone, Debug)]
pub enum Payload {
    /// These bytes, once.
    Bytes(Vec<u8>),
    /// This one again and again, until the client hangs up.
    Endless(u8),
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self { response, payload: Payload::Bytes(Vec::new()), hang_up: false }
    }
}

impl Answer {
    /// The bytes of its payload; nothing of an endless one.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.payload {
            Payload::Bytes(bytes) => bytes,
            Payload::Endless(_) => &[],
        }
    }
}

type Lie = Box<dyn FnMut(&Request, Answer) -> Answer + Send>;

struct Shared {
    shelf: Mutex<Shelf>,
    lie: Mutex<Option<Lie>>,
    asked: Mutex<Vec<Request>>,
    config: Arc<ServerConfig>,
}

/// A server with a shelf of objects that answers honestly, or as its [lie](Self::lie) says.
pub struct HostileServer {
    raw: RawServer,
    key: ServerPublicKey,
    shared: Arc<Shared>,
}

impl Default for HostileServer {
    fn default() -> Self {
        Self::new()
    }
}

impl HostileServer {
    /// A server that speaks `tls`, and `plaintext` to clients that offer nothing else.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn new() -> Self {
        let seed = ServerKeySeed::generate(&mut rand::rng());
        let tls = ServerTls::new(&seed).unwrap_or_else(|e| panic!("no TLS: {e}"));
        let config = Arc::new(ServerConfig {
            tls: Some(tls),
            allow_plaintext: true,
            limits: ServerLimits::default(),
        });
        let shared = Arc::new(Shared {
            shelf: Mutex::default(),
            lie: Mutex::default(),
            asked: Mutex::default(),
            config,
        });
        let serving = shared.clone();
        // A client that hangs up is what the tests wait for.
        let raw = RawServer::new(move |stream| drop(serve(stream, &serving)));
        Self { raw, key: seed.public_key(), shared }
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

    /// The key that it shows.
    #[must_use]
    pub fn key(&self) -> ServerPublicKey {
        self.key
    }

    /// The objects that it stores, locked.
    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        locked(&self.shared.shelf)
    }

    /// From now on `lie` turns each honest answer into what is said.
    pub fn lie(&self, lie: impl FnMut(&Request, Answer) -> Answer + Send + 'static) {
        *locked(&self.shared.lie) = Some(Box::new(lie));
    }

    /// From now on answers are honest.
    pub fn repent(&self) {
        *locked(&self.shared.lie) = None;
    }

    /// What it was asked since the last time.
    #[must_use]
    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut locked(&self.shared.asked))
    }
}

impl fmt::Debug for HostileServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostileServer({})", self.address())
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let session = ServerSession::new(shared.config.clone(), Instant::now());
    set_up(&stream)?;
    let mut wire = Wire::new(stream, session);
    let mut upload = None;
    loop {
        let request = match wire.event()? {
            Event::Message(request) => request,
            Event::Connected { .. } | Event::PayloadDone => continue,
            Event::Closed => return Ok(()),
        };
        let slice = if request.announces() > 0 { wire.payload()? } else { Vec::new() };
        let mut answer = locked(&shared.shelf).answer(&request, &slice, &mut upload);
        if let Some(lie) = locked(&shared.lie).as_mut() {
            answer = lie(&request, answer);
        }
        locked(&shared.asked).push(request);
        wire.session.send(&answer.response).map_err(io::Error::other)?;
        wire.flush()?;
        match &answer.payload {
            Payload::Bytes(bytes) => {
                wire.write(bytes)?;
                if answer.hang_up || (bytes.len() as u64) < answer.response.announces() {
                    return Ok(());
                }
            }
            Payload::Endless(byte) => {
                let block = [*byte; 65_536];
                loop {
                    wire.write(&block)?;
                }
            }
        }
        wire.flush()?;
    }
}

/// A listener on loopback that hands each connection to a function, on a thread of its own.
pub struct RawServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RawServer {
    /// Listens, and gives each connection to `serve`.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port on loopback: {e}"));
        let address =
            listener.local_addr().unwrap_or_else(|e| panic!("a listener without address: {e}"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let serve = Arc::new(serve);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(stream) = stream {
                    let serve = serve.clone();
                    thread::spawn(move || serve(stream));
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// A listener that sends `bytes` to each client, and then waits until the client closes.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn saying(bytes: Vec<u8>) -> Self {
        Self::new(move |mut stream| {
            let said = stream.write_all(&bytes);
            let _their_end = stream.set_read_timeout(Some(PATIENCE));
            if said.is_ok() {
                let _hung_up = io::copy(&mut stream, &mut io::sink());
            }
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a key file says it.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote::Tcp {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            mount: MountName::ROOT,
        }
    }
}

impl fmt::Debug for RawServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawServer({})", self.address)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the listener.
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// A panic of one test's closure is that test's.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
