//! The last stage of a put: slices on their way to the server, and its answers.

use crossbeam_channel::{Receiver, RecvTimeoutError};
use zput_common::{
    digest::Digest,
    name::ObjectKey,
    proto::message::{
        ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Version,
    },
};

use crate::{
    connection::{Connection, ConnectionError},
    error::ClientError,
    progress::{Progress, Proportion, Silent},
};

/// Slices that may be unanswered while the next one is sent.
const WINDOW: usize = 4;
/// Pings in the time of silence that the server puts up with: one may be late, and one lost to a busy
/// machine.
const PINGS_PER_IDLE: u32 = 3;
/// Bytes of a slice of what has no parts: of a footer, or of an unsealed object.
pub(crate) const SLICE_BYTES: usize = 16 * 1024 * 1024;

/// An upload under way.
pub(crate) struct Upload<'c> {
    connection: &'c mut Connection,
    /// What the server has behind the header, or was sent.
    slices: Vec<ClaimedSlice>,
    /// How many slices the server has said to hold since this upload was opened here.
    held: usize,
}

/// What a server has of an upload that was cut off.
pub(crate) enum Resumed {
    /// Something: the upload is open.
    Open,
    /// All of it: it was committed.
    Committed(Version),
    /// Nothing.
    Nothing,
}

impl<'c> Upload<'c> {
    /// Opens it, with the header of a sealed object or without one; the answer is heard later.
    pub(crate) fn begin(
        connection: &'c mut Connection,
        key: &ObjectKey,
        header: Option<HeaderSlice>,
        condition: Condition,
    ) -> Result<Self, ClientError> {
        let mut upload = Self { connection, slices: Vec::new(), held: 0 };
        let kind = if header.is_some() { Kind::Sealed } else { Kind::Plain };
        upload.send(&Request::Begin { key: key.clone(), kind, condition, header })?;
        Ok(upload)
    }

    /// Opens an upload that was cut off, if the server has something of it.
    pub(crate) fn resume(
        connection: &'c mut Connection,
        key: &ObjectKey,
        header: HeaderSlice,
        condition: Condition,
    ) -> Result<Resumed, ClientError> {
        let request = Request::Resume { key: key.clone(), condition, header };
        match connection.ask(&request) {
            Ok(Response::Begun) => Ok(Resumed::Open),
            Ok(Response::Committed { version }) => Ok(Resumed::Committed(version)),
            Ok(_) => Err(connection.unexpected("something else than the upload").into()),
            Err(ConnectionError::Refused { error, .. })
                if error.known() == Some(ErrorCode::NotFound) =>
            {
                Ok(Resumed::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks how many of the first of `slices`, the next ones, the server holds.
    pub(crate) fn claim(&mut self, slices: &[ClaimedSlice]) -> Result<usize, ClientError> {
        self.send(&Request::Claim { slices: slices.to_vec() })?;
        loop {
            match self.connection.answer()? {
                Response::Held { slices: held } => {
                    // The session takes no answer that says more than was claimed.
                    let held = (held as usize).min(slices.len());
                    self.slices.extend_from_slice(&slices[..held]);
                    return Ok(held);
                }
                answer => self.accept(answer)?,
            }
        }
    }

    /// Waits until the server has said that the upload is open.
    pub(crate) fn hear_begun(&mut self) -> Result<(), ClientError> {
        while self.connection.unanswered() > 0 {
            let answer = self.connection.receive()?;
            self.accept(answer)?;
        }
        Ok(())
    }

    /// The upload that is open on `connection`, of which nothing was claimed or sent.
    pub(crate) fn opened(connection: &'c mut Connection) -> Self {
        Self { connection, slices: Vec::new(), held: 0 }
    }

    /// How many slices the server has said to hold since this upload was opened here.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Hears the next answer.
    pub(crate) fn hear(&mut self) -> Result<(), ClientError> {
        let answer = self.connection.receive()?;
        self.accept(answer)
    }

    /// What the server has behind the header, or was sent.
    pub(crate) fn slices(&mut self) -> Vec<ClaimedSlice> {
        std::mem::take(&mut self.slices)
    }

    /// The next piece of what is put. The source may take its time: meanwhile the server hears that
    /// somebody is still there.
    pub(crate) fn next_piece<T>(&mut self, pieces: &Receiver<T>) -> Result<T, ClientError> {
        loop {
            match pieces.recv_timeout(self.connection.idle_limit() / PINGS_PER_IDLE) {
                Ok(piece) => return Ok(piece),
                Err(RecvTimeoutError::Timeout) => self.keep_alive()?,
                Err(RecvTimeoutError::Disconnected) => return Err(ClientError::Incomplete),
            }
        }
    }

    /// Hears that the server is there, and all that it has said before. Slices that were gathered
    /// leave as well.
    fn keep_alive(&mut self) -> Result<(), ClientError> {
        self.send(&Request::Ping)?;
        while self.connection.unanswered() > 0 {
            let answer = self.connection.receive()?;
            self.accept(answer)?;
        }
        Ok(())
    }

    /// Sends a slice; then hears the answers that are there, and waits for one where too many are not.
    pub(crate) fn slice(&mut self, bytes: &[u8], digest: Digest) -> Result<(), ClientError> {
        self.slice_of(bytes, digest, 0, &Silent)
    }

    /// The same, of a slice that stands for so much plaintext; `progress` moves as the socket takes it.
    pub(crate) fn slice_of(
        &mut self,
        bytes: &[u8],
        digest: Digest,
        plain: u64,
        progress: &dyn Progress,
    ) -> Result<(), ClientError> {
        self.make_room()?;
        let mut proportion = Proportion::new(progress, bytes.len() as u64, plain);
        let sent =
            self.connection.send_slice_telling(bytes, digest, &mut |taken| proportion.moved(taken));
        self.explain(sent)?;
        // A slice has at most 16 MiB and a little.
        self.slices.push(ClaimedSlice { length: bytes.len() as u32, digest });
        while let Some(answer) = self.connection.heard() {
            self.accept(answer)?;
        }
        while self.connection.unanswered() > WINDOW {
            let answer = self.connection.receive()?;
            self.accept(answer)?;
        }
        Ok(())
    }

    /// Makes it the current version, durably.
    pub(crate) fn commit(mut self) -> Result<Version, ClientError> {
        self.send(&Request::Commit)?;
        loop {
            match self.connection.answer()? {
                Response::Committed { version } => return Ok(version),
                answer => self.accept(answer)?,
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        self.make_room()?;
        let sent = self.connection.send(request);
        self.explain(sent)
    }

    /// A server may take fewer unanswered requests than the window.
    fn make_room(&mut self) -> Result<(), ClientError> {
        while self.connection.room() == 0 {
            let answer = self.connection.receive()?;
            self.accept(answer)?;
        }
        Ok(())
    }

    /// A connection that ended: the server may have said why.
    fn explain(&mut self, sent: Result<(), ConnectionError>) -> Result<(), ClientError> {
        sent.map_err(|error| self.connection.refusal().unwrap_or(error).into())
    }

    fn accept(&mut self, answer: Response) -> Result<(), ClientError> {
        match answer {
            Response::SliceHeld => {
                self.held += 1;
                Ok(())
            }
            Response::Begun | Response::Pong => Ok(()),
            Response::Error(error) => Err(ConnectionError::Refused {
                remote: Box::new(self.connection.remote().clone()),
                error,
            }
            .into()),
            _ => Err(self.connection.unexpected("something else than the upload").into()),
        }
    }
}

/// Gives an upload up after an error: tells the server, and hears the answers that are still to come,
/// so that the connection can be used again.
pub(crate) fn abort(connection: &mut Connection) -> Result<(), ConnectionError> {
    while connection.room() == 0 {
        connection.receive()?;
    }
    connection.send(&Request::Abort)?;
    while connection.unanswered() > 0 {
        connection.receive()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        sync::Arc,
        thread,
        time::Instant,
    };

    use zput_common::{
        keys::Remote,
        proto::{
            ClientConfig, Event, ServerConfig, ServerLimits, Transmit, Wants, server::ServerSession,
        },
    };

    use super::*;

    /// A server that takes everything, until its peer is gone.
    fn serve(mut stream: UnixStream, limits: ServerLimits) {
        let config = ServerConfig { tls: None, allow_plaintext: true, limits };
        let mut session = ServerSession::new(Arc::new(config), Instant::now());
        let mut block = vec![0; 65_536];
        loop {
            let received = stream.read(&mut block).unwrap_or(0);
            if received == 0 {
                return;
            }
            let mut rest = &block[..received];
            while !rest.is_empty() {
                match session.wants() {
                    Wants::Payload { remaining } => {
                        let now = rest.len().min(usize::try_from(remaining).unwrap());
                        session.payload_received(Instant::now(), now as u64);
                        rest = &rest[now..];
                    }
                    Wants::Control => {
                        let taken = session.handle_input(Instant::now(), rest).unwrap();
                        rest = &rest[taken..];
                    }
                    Wants::Nothing => {}
                }
                while let Some(event) = session.poll_event() {
                    let answer = match event {
                        Event::Message(Request::Begin { .. }) => Response::Begun,
                        Event::Message(Request::Ping) => Response::Pong,
                        Event::Message(Request::Abort) => Response::Aborted,
                        Event::Message(Request::Commit) => {
                            Response::Committed { version: Version(9) }
                        }
                        Event::PayloadDone => Response::SliceHeld,
                        _ => continue,
                    };
                    session.send(&answer).unwrap();
                }
                while let Some(Transmit::Bytes(bytes)) = session.poll_transmit(Instant::now()) {
                    stream.write_all(&bytes).unwrap();
                }
            }
        }
    }

    fn begin<'c>(connection: &'c mut Connection, key: &ObjectKey) -> Upload<'c> {
        Upload::begin(connection, key, None, Condition::Any).unwrap()
    }

    /// What a progress is told.
    #[derive(Default)]
    struct Steps(std::sync::Mutex<Vec<u64>>);

    impl Progress for Steps {
        fn begin(&self, _total: Option<u64>) {}
        fn advance(&self, bytes: u64) {
            self.0.lock().unwrap().push(bytes);
        }
        fn end(&self) {}
    }

    #[test]
    fn progress_moves_as_the_socket_takes_a_slice() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || serve(theirs, ServerLimits::default()));
        let remote = Remote::Unix("/server".into());
        let mut connection = Connection::on(ours, remote, &ClientConfig::Plaintext).unwrap();
        let key = ObjectKey::new("k").unwrap();
        let mut upload = begin(&mut connection, &key);
        // Many times what a socket holds.
        let bytes = vec![7; 16 << 20];
        let steps = Steps::default();
        upload.slice_of(&bytes, Digest::of(&bytes), 16_000_000, &steps).unwrap();
        upload.commit().unwrap();
        connection.close();
        server.join().unwrap();
        let steps = steps.0.into_inner().unwrap();
        assert_eq!(steps.iter().sum::<u64>(), 16_000_000);
        assert!(steps.len() > 4, "{}", steps.len());
        assert!(steps.iter().all(|step| *step < 8_000_000));
    }

    #[test]
    fn a_server_that_takes_few_requests_at_once_is_waited_for() {
        for max_pipeline in [8, 9, 13] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let limits = ServerLimits { max_pipeline, ..ServerLimits::default() };
            let server = thread::spawn(move || serve(theirs, limits));
            let remote = Remote::Unix("/server".into());
            let mut connection = Connection::on(ours, remote, &ClientConfig::Plaintext).unwrap();
            let key = ObjectKey::new("k").unwrap();
            let mut upload = begin(&mut connection, &key);
            for _ in 0..20 {
                upload.slice(b"slice", Digest::of(b"slice")).unwrap();
            }
            upload.keep_alive().unwrap();
            assert_eq!(upload.commit().unwrap(), Version(9), "{max_pipeline}");
            let mut upload = begin(&mut connection, &key);
            upload.slice(b"slice", Digest::of(b"slice")).unwrap();
            abort(&mut connection).unwrap();
            connection.close();
            server.join().unwrap();
        }
    }
}
