//! In-doubt commits: the connection ended after Commit was sent and before its answer arrived.
//!
//! The header identifies the blob, since its salt is random, so the server can be asked whether it
//! committed (PROTOCOL 5, "Resume"). A blob that was stored is not stored a second time.

use zput_common::{
    blob::open::Seen,
    limits::CLAIM_MAX_SLICES,
    proto::message::{ClaimedSlice, HeaderSlice, Version},
};

use super::{PutContext, attempt::Committed};
use crate::{
    client::Client,
    error::ClientError,
    notice::Event,
    put::upload::{ResumeAnswer, Upload, abort},
    retry::{RetryState, is_retryable},
};

/// An upload whose Commit was sent and not answered.
pub(super) struct InDoubtCommit {
    pub(super) header: HeaderSlice,
    /// All slices after the header, the footer's included.
    pub(super) slices: Vec<ClaimedSlice>,
    pub(super) seen: Seen,
    /// Length of the plaintext in bytes.
    pub(super) length: u64,
}

impl Client {
    /// Finds out whether an in-doubt commit took effect. If the server still has the whole upload
    /// and did not commit it, it is committed now. `error` is how the connection ended, and the
    /// first query is delayed because of it; `None` if the caller has already waited. Returns
    /// `None` when the blob is not stored and has to be put again.
    ///
    /// # Errors
    /// [`ClientError::OutcomeUnknown`] when the retries are used up before the server has answered.
    pub(super) fn resolve(
        &mut self,
        context: &PutContext<'_>,
        in_doubt: &InDoubtCommit,
        retries: &mut RetryState,
        error: Option<ClientError>,
    ) -> Result<Option<Committed>, ClientError> {
        let mut failure = error;
        loop {
            if let Some(error) = failure.take() {
                if !is_retryable(&error) {
                    return Err(error);
                }
                self.pause(retries, Some(context.name.as_str()), error)
                    .map_err(|error| ClientError::OutcomeUnknown(Box::new(error)))?;
            }
            match self.query_outcome(context, in_doubt) {
                Ok(version) => {
                    let InDoubtCommit { seen, length, .. } = *in_doubt;
                    return Ok(version.map(|version| Committed { version, seen, length }));
                }
                // The blob is no longer the newest and must not be stored.
                Err(error @ ClientError::Overtaken { .. }) => {
                    context.learn_generation(&error);
                    return Ok(None);
                }
                Err(error) => {
                    self.recover(&error, abort);
                    failure = Some(error);
                }
            }
        }
    }

    fn query_outcome(
        &mut self,
        context: &PutContext<'_>,
        in_doubt: &InDoubtCommit,
    ) -> Result<Option<Version>, ClientError> {
        match self.resume(context, in_doubt.header.clone())? {
            ResumeAnswer::Committed(version) => {
                self.notify(&context.notice(Event::AlreadyStored(version)));
                return Ok(Some(version));
            }
            ResumeAnswer::Nothing => return Ok(None),
            ResumeAnswer::Open => {}
        }
        let mut upload = Upload::attach(self.connection()?);
        for slices in in_doubt.slices.chunks(CLAIM_MAX_SLICES) {
            if upload.claim(slices)? < slices.len() {
                // Some slices were still in transit. Keep the upload as it is, so that a put that
                // has them can resume it.
                self.drop_connection();
                return Ok(None);
            }
        }
        upload.commit().map(Some)
    }
}
