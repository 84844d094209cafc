//! The last stage of a put: slices on their way to the server, and its answers.

use zput_common::{
    digest::Digest,
    name::ObjectKey,
    proto::message::{Condition, Kind, Request, Response, Version},
};

use crate::{
    connection::{Connection, ConnectionError},
    error::ClientError,
};

/// Slices that may be unanswered while the next one is sent.
const WINDOW: usize = 4;
/// Bytes of a slice of what has no parts: of a footer, or of an unsealed object.
pub(crate) const SLICE_BYTES: usize = 16 * 1024 * 1024;

/// An upload under way.
pub(crate) struct Upload<'c> {
    connection: &'c mut Connection,
}

impl<'c> Upload<'c> {
    /// Opens it; the answer is heard later.
    pub(crate) fn begin(
        connection: &'c mut Connection,
        key: &ObjectKey,
        kind: Kind,
        condition: Condition,
    ) -> Result<Self, ClientError> {
        connection.send(&Request::Begin { key: key.clone(), kind, condition })?;
        Ok(Self { connection })
    }

    /// Sends a slice; then hears the answers that are there, and waits for one where too many are not.
    pub(crate) fn slice(&mut self, bytes: &[u8], digest: Digest) -> Result<(), ClientError> {
        if let Err(error) = self.connection.send_slice(bytes, digest) {
            return Err(self.connection.refusal().unwrap_or(error).into());
        }
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
    pub(crate) fn commit(self) -> Result<Version, ClientError> {
        self.connection.send(&Request::Commit)?;
        loop {
            match self.connection.answer()? {
                Response::Committed { version } => return Ok(version),
                answer => self.accept(answer)?,
            }
        }
    }

    fn accept(&self, answer: Response) -> Result<(), ClientError> {
        match answer {
            Response::Begun | Response::SliceHeld => Ok(()),
            Response::Error(error) => {
                Err(ConnectionError::Refused { remote: self.connection.remote().clone(), error }
                    .into())
            }
            _ => Err(self.connection.unexpected("something else than the upload").into()),
        }
    }
}

/// Gives an upload up after an error: tells the server, and hears the answers that are still to come,
/// so that the connection can be used again.
pub(crate) fn abort(connection: &mut Connection) -> Result<(), ConnectionError> {
    connection.send(&Request::Abort)?;
    while connection.unanswered() > 0 {
        connection.receive()?;
    }
    Ok(())
}
