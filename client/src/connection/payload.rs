//! Receives raw payload: the bytes of objects, which the session only counts.

use std::time::Instant;

use rustix::{event::PollFlags, io::Errno};
use zput_proto::session::{SessionError, Wants};

use super::{Connection, error::ConnectionError};

impl Connection {
    /// Receives raw payload into `block` until it is full, the payload ends, or the socket has no
    /// more for now. Returns the number of bytes, at least one; 0 only when no payload is left.
    ///
    /// # Errors
    /// When the connection ends before the payload does.
    pub(crate) fn payload(&mut self, block: &mut [u8]) -> Result<usize, ConnectionError> {
        let mut filled = 0;
        // The caller was busy until now, possibly with a slow sink; that was not silence of the
        // server.
        self.session.restart_idle(Instant::now());
        while filled < block.len() {
            let Wants::Payload { remaining } = self.session.wants() else { break };
            let free = block.len() - filled;
            let most = usize::try_from(remaining).map_or(free, |remaining| free.min(remaining));
            let target = &mut block[filled..filled + most];
            let held = self.input.rest();
            let received = if held.is_empty() {
                match self.socket.receive(target) {
                    // Return what came before the end first; the next call reports the end.
                    Ok(0) if filled > 0 => break,
                    Ok(0) => {
                        let ended = self.session.handle_eof();
                        let error = ended.err().unwrap_or(SessionError::Truncated);
                        return Err(self.session_error(error));
                    }
                    Ok(received) => received,
                    Err(Errno::AGAIN) if filled > 0 => break,
                    Err(Errno::AGAIN) => {
                        self.wait_for(PollFlags::IN)?;
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(self.socket_error(error.into())),
                }
            } else {
                let now = held.len().min(most);
                target[..now].copy_from_slice(&held[..now]);
                self.input.advance(now);
                now
            };
            filled += received;
            self.session.payload_received(Instant::now(), received as u64);
        }
        Ok(filled)
    }
}
