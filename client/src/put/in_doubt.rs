//! A commit whose answer was lost: the connection ended behind it, and the blob is there, or is not.
//!
//! The header tells it from every other blob (its salt is random), so the server can be asked: PROTOCOL 5,
//! "Resume". What is there was stored once and is not stored again.

use zput_common::{
    blob::open::Seen,
    limits::CLAIM_MAX_SLICES,
    proto::message::{ClaimedSlice, HeaderSlice, Version},
};

use super::{Target, attempt::Committed};
use crate::{
    client::Client,
    error::ClientError,
    notice::Event,
    retry::{Tries, may_pass},
    send::{Resumed, Upload, abort},
};

/// What was committed, perhaps.
pub(super) struct LostCommit {
    pub(super) header: HeaderSlice,
    /// All that follows it, the footer's as well.
    pub(super) slices: Vec<ClaimedSlice>,
    pub(super) seen: Seen,
    /// Bytes of plaintext.
    pub(super) length: u64,
}

impl Client {
    /// Finds out whether a commit took effect whose answer was lost. Where the server still has the whole upload and did not
    /// commit it, it is committed now. `error` is how the connection ended; the first question waits because of it, `None`
    /// where somebody has waited already. Gives `None` when the blob is not stored and has to be put again.
    ///
    /// # Errors
    /// [`ClientError::Unanswered`] where there is no way to know.
    pub(super) fn settle(
        &mut self,
        target: &Target<'_>,
        lost: &LostCommit,
        tries: &mut Tries,
        error: Option<ClientError>,
    ) -> Result<Option<Committed>, ClientError> {
        let mut failure = error;
        loop {
            if let Some(error) = failure.take() {
                if !may_pass(&error) {
                    return Err(error);
                }
                self.pause(tries, Some(target.name.as_str()), error)
                    .map_err(|error| ClientError::Unanswered(Box::new(error)))?;
            }
            match self.find_out(target, lost) {
                Ok(version) => {
                    let LostCommit { seen, length, .. } = *lost;
                    return Ok(version.map(|version| Committed { version, seen, length }));
                }
                // It must not be stored any more.
                Err(error @ ClientError::Overtaken { .. }) => {
                    target.takes_note(&error);
                    return Ok(None);
                }
                Err(error) => {
                    self.recover(&error, abort);
                    failure = Some(error);
                }
            }
        }
    }

    fn find_out(
        &mut self,
        target: &Target<'_>,
        lost: &LostCommit,
    ) -> Result<Option<Version>, ClientError> {
        match self.resume(target, lost.header.clone())? {
            Resumed::Committed(version) => {
                self.tell(&target.notice(Event::WasStored(version)));
                return Ok(Some(version));
            }
            Resumed::Nothing => return Ok(None),
            Resumed::Open => {}
        }
        let mut upload = Upload::opened(self.connection()?);
        for slices in lost.slices.chunks(CLAIM_MAX_SLICES) {
            if upload.claim(slices)? < slices.len() {
                // Some of it was still on its way. Who can send it again finds the upload as it is.
                self.hang_up();
                return Ok(None);
            }
        }
        upload.commit().map(Some)
    }
}
