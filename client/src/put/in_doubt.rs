//! In-doubt commits: the connection ended after Commit was sent and before its answer arrived.
//!
//! The header identifies the blob, since its salt is random, so the server can be asked whether it
//! committed (PROTOCOL 5, "Resume"). A blob that was stored is not stored a second time.

use zput_proto::{limits::CLAIM_MAX_SLICES, message::Version};

use super::{
    commit::{Committed, InDoubtCommit},
    context::PutContext,
    upload::{ResumeAnswer, Upload, abort},
};
use crate::{
    error::Error,
    event::Event,
    retry::{RetryState, is_retryable},
    session::Session,
};

impl Session {
    /// Finds out whether an in-doubt commit took effect. If the server still has the whole upload
    /// and did not commit it, it is committed now. `error` is how the connection ended, and the
    /// first query is delayed because of it; `None` if the caller has already waited. Returns
    /// `None` when the blob is not stored and has to be put again.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when the retries are used up before the server has answered.
    pub(super) fn resolve(
        &mut self,
        context: &PutContext<'_>,
        in_doubt: &InDoubtCommit,
        retries: &mut RetryState,
        error: Option<Error>,
    ) -> Result<Option<Committed>, Error> {
        let mut failure = error;
        loop {
            if let Some(error) = failure.take() {
                if !is_retryable(&error) {
                    return Err(error);
                }
                self.pause(retries, Some(context.name.as_str()), error)
                    .map_err(|error| Error::OutcomeUnknown(Box::new(error)))?;
            }
            match self.query_outcome(context, in_doubt) {
                Ok(version) => {
                    let InDoubtCommit { seen, length, .. } = *in_doubt;
                    return Ok(version.map(|version| Committed { version, seen, length }));
                }
                // The blob is no longer the newest and must not be stored.
                Err(error @ Error::Overtaken { .. }) => {
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
    ) -> Result<Option<Version>, Error> {
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
