//! The last stage of a put: sends slices to the server and handles its answers.

use crossbeam_channel::{Receiver, RecvTimeoutError};
use zput_proto::{
    digest::Digest,
    message::{ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Version},
    name::ObjectKey,
};

use crate::{
    connection::{Connection, ConnectionError},
    error::Error,
    io::progress::{Progress, Proportion, Silent},
};

/// Slices that may be unanswered while the next one is sent.
const WINDOW: usize = 4;
/// Pings per idle limit of the server: one may be late, and one lost to a busy machine.
const PINGS_PER_IDLE: u32 = 3;

/// An open upload.
pub(crate) struct Upload<'c> {
    connection: &'c mut Connection,
    /// The slices after the header that the server holds or was sent.
    slices: Vec<ClaimedSlice>,
    /// Number of slices that the server has confirmed on this connection.
    held: usize,
}

/// The server's answer to Resume.
pub(crate) enum ResumeAnswer {
    /// The server holds some of the upload, which is open now.
    Open,
    /// The upload was committed as this version.
    Committed(Version),
    /// The server holds nothing of it.
    Nothing,
}

impl<'c> Upload<'c> {
    /// Sends Begin, with the header of a sealed object or without one. The answer is handled later.
    pub(crate) fn begin(
        connection: &'c mut Connection,
        key: &ObjectKey,
        header: Option<HeaderSlice>,
        condition: Condition,
    ) -> Result<Self, Error> {
        let mut upload = Self { connection, slices: Vec::new(), held: 0 };
        let kind = if header.is_some() { Kind::Sealed } else { Kind::Plain };
        upload.send(&Request::Begin { key: key.clone(), kind, condition, header })?;
        Ok(upload)
    }

    /// Resumes an interrupted upload, if the server holds some of it.
    pub(crate) fn resume(
        connection: &'c mut Connection,
        key: &ObjectKey,
        header: HeaderSlice,
        condition: Condition,
    ) -> Result<ResumeAnswer, Error> {
        let request = Request::Resume { key: key.clone(), condition, header };
        match connection.call(&request) {
            Ok(Response::Begun) => Ok(ResumeAnswer::Open),
            Ok(Response::Committed { version }) => Ok(ResumeAnswer::Committed(version)),
            Ok(_) => Err(connection.unexpected("something else than the upload").into()),
            Err(ConnectionError::Refused { error, .. })
                if error.known() == Some(ErrorCode::NotFound) =>
            {
                Ok(ResumeAnswer::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Claims `slices`, which come next; returns how many of the first of them the server holds.
    pub(crate) fn claim(&mut self, slices: &[ClaimedSlice]) -> Result<usize, Error> {
        self.send(&Request::Claim { slices: slices.to_vec() })?;
        loop {
            match self.connection.receive_ok()? {
                Response::Held { slices: held } => {
                    // The session rejects an answer that exceeds the claim.
                    let held = (held as usize).min(slices.len());
                    self.slices.extend_from_slice(&slices[..held]);
                    return Ok(held);
                }
                answer => self.handle_answer(answer)?,
            }
        }
    }

    /// Waits until the server has confirmed that the upload is open.
    pub(crate) fn wait_until_open(&mut self) -> Result<(), Error> {
        while self.connection.in_flight() > 0 {
            let answer = self.connection.receive()?;
            self.handle_answer(answer)?;
        }
        Ok(())
    }

    /// The upload that is open on `connection`, of which nothing was claimed or sent on it.
    pub(crate) fn attach(connection: &'c mut Connection) -> Self {
        Self { connection, slices: Vec::new(), held: 0 }
    }

    /// Number of slices that the server has confirmed on this connection.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Receives and handles the next answer.
    pub(crate) fn receive_answer(&mut self) -> Result<(), Error> {
        let answer = self.connection.receive()?;
        self.handle_answer(answer)
    }

    /// Takes the slices that the server holds or was sent.
    pub(crate) fn take_slices(&mut self) -> Vec<ClaimedSlice> {
        std::mem::take(&mut self.slices)
    }

    /// Receives the next piece. While the source is slow, pings keep the server from closing the
    /// connection.
    pub(crate) fn next_piece<T>(&mut self, pieces: &Receiver<T>) -> Result<T, Error> {
        loop {
            match pieces.recv_timeout(self.connection.idle_limit() / PINGS_PER_IDLE) {
                Ok(piece) => return Ok(piece),
                Err(RecvTimeoutError::Timeout) => self.keep_alive()?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Incomplete),
            }
        }
    }

    /// Sends a ping and handles all answers up to it. Slices that were buffered are sent too.
    fn keep_alive(&mut self) -> Result<(), Error> {
        self.send(&Request::Ping)?;
        while self.connection.in_flight() > 0 {
            let answer = self.connection.receive()?;
            self.handle_answer(answer)?;
        }
        Ok(())
    }

    /// Sends a slice, then handles the answers that have arrived, and waits while more than
    /// [`WINDOW`] are missing.
    pub(crate) fn send_slice(&mut self, bytes: &[u8], digest: Digest) -> Result<(), Error> {
        self.send_slice_with_progress(bytes, digest, 0, &Silent)
    }

    /// The same for a slice that holds `plain` bytes of plaintext; `progress` advances as the
    /// socket accepts it.
    pub(crate) fn send_slice_with_progress(
        &mut self,
        bytes: &[u8],
        digest: Digest,
        plain: u64,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        self.wait_for_capacity()?;
        let mut proportion = Proportion::new(progress, bytes.len() as u64, plain);
        let sent = self
            .connection
            .send_slice_with_progress(bytes, digest, &mut |taken| proportion.moved(taken));
        self.prefer_refusal(sent)?;
        // A slice is at most 16 MiB plus its authentication tags.
        self.slices.push(ClaimedSlice { length: bytes.len() as u32, digest });
        while let Some(answer) = self.connection.try_receive() {
            self.handle_answer(answer)?;
        }
        while self.connection.in_flight() > WINDOW {
            let answer = self.connection.receive()?;
            self.handle_answer(answer)?;
        }
        Ok(())
    }

    /// Commits: makes the upload the current version, durably.
    pub(crate) fn commit(mut self) -> Result<Version, Error> {
        self.send(&Request::Commit)?;
        loop {
            match self.connection.receive_ok()? {
                Response::Committed { version } => return Ok(version),
                answer => self.handle_answer(answer)?,
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), Error> {
        self.wait_for_capacity()?;
        let sent = self.connection.send(request);
        self.prefer_refusal(sent)
    }

    /// Waits while the server allows no further request; its limit may be below the window.
    fn wait_for_capacity(&mut self) -> Result<(), Error> {
        while self.connection.capacity() == 0 {
            let answer = self.connection.receive()?;
            self.handle_answer(answer)?;
        }
        Ok(())
    }

    /// Replaces a socket error by the refusal that the server sent before it closed, if there is
    /// one.
    fn prefer_refusal(&mut self, sent: Result<(), ConnectionError>) -> Result<(), Error> {
        sent.map_err(|error| self.connection.refusal().unwrap_or(error).into())
    }

    fn handle_answer(&mut self, answer: Response) -> Result<(), Error> {
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

/// Aborts an upload and receives the outstanding answers, so that the connection can be used again.
pub(crate) fn abort(connection: &mut Connection) -> Result<(), ConnectionError> {
    while connection.capacity() == 0 {
        connection.receive()?;
    }
    connection.send(&Request::Abort)?;
    while connection.in_flight() > 0 {
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

    use zput_proto::{
        hello::ServerLimits,
        keys::Remote,
        session::{ClientConfig, Event, ServerConfig, ServerSession, Transmit, Wants},
    };

    use super::*;

    /// A server that accepts everything until its peer closes.
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

    /// Records the steps of a progress.
    #[derive(Default)]
    struct Steps(std::sync::Mutex<Vec<u64>>);

    impl Progress for Steps {
        fn begin(&self, _total: Option<u64>) {}
        fn advance(&self, bytes: u64) {
            self.0.lock().unwrap().push(bytes);
        }
        fn end(&self) {}
    }

    /// Progress advances in steps while the socket takes a slice, not at its end.
    #[test]
    fn upload_progress_advances_as_the_socket_takes_a_slice() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || serve(theirs, ServerLimits::default()));
        let remote = Remote::Unix("/server".into());
        let mut connection =
            Connection::from_stream(ours, remote, &ClientConfig::Plaintext).unwrap();
        let key = ObjectKey::new("k").unwrap();
        let mut upload = begin(&mut connection, &key);
        // Much more than a socket buffer holds.
        let bytes = vec![7; 16 << 20];
        let steps = Steps::default();
        upload.send_slice_with_progress(&bytes, Digest::of(&bytes), 16_000_000, &steps).unwrap();
        upload.commit().unwrap();
        connection.close();
        server.join().unwrap();
        let steps = steps.0.into_inner().unwrap();
        assert_eq!(steps.iter().sum::<u64>(), 16_000_000);
        assert!(steps.len() >= 16, "{}", steps.len());
        assert!(steps.iter().all(|step| *step <= 1_000_000), "{steps:?}");
    }

    /// An upload of 20 slices commits on servers that take 8, 9 or 13 requests at once.
    #[test]
    fn upload_respects_a_small_server_pipeline_limit() {
        for max_pipeline in [8, 9, 13] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let limits = ServerLimits { max_pipeline, ..ServerLimits::default() };
            let server = thread::spawn(move || serve(theirs, limits));
            let remote = Remote::Unix("/server".into());
            let mut connection =
                Connection::from_stream(ours, remote, &ClientConfig::Plaintext).unwrap();
            let key = ObjectKey::new("k").unwrap();
            let mut upload = begin(&mut connection, &key);
            for _ in 0..20 {
                upload.send_slice(b"slice", Digest::of(b"slice")).unwrap();
            }
            upload.keep_alive().unwrap();
            assert_eq!(upload.commit().unwrap(), Version(9), "{max_pipeline}");
            let mut upload = begin(&mut connection, &key);
            upload.send_slice(b"slice", Digest::of(b"slice")).unwrap();
            abort(&mut connection).unwrap();
            connection.close();
            server.join().unwrap();
        }
    }
}
