//! A put of a file of several parts that resumes where an earlier one was interrupted.
//!
//! The journal lists the parts that were sealed, and the server says how many of them it holds.
//! Meanwhile the file is read again from its start and each part that the server holds is compared
//! with its recorded digest. The remaining parts are sealed and sent. If the file is another one or
//! its contents differ, the put starts over with a new file key and abandons the old upload.

use std::{sync::Arc, thread, time::Duration};

use crossbeam_channel::{Sender, unbounded};
use zput_proto::{
    digest::Hasher,
    limits::CLAIM_MAX_SLICES,
    message::{ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Version},
};
use zput_seal::{
    aead::Engine,
    blob::{
        header::Header,
        open::Seen,
        seal::{SealError, Sealer},
    },
    chunked::plain_len,
};

use super::{
    attempt::{FailedAttempt, SealStage, send_and_commit},
    commit::Committed,
    context::PutContext,
    options::{PutReceipt, Resume},
    pipeline::{HeldParts, ResumedParts, SealJob, SealedPiece},
    upload::{ResumeAnswer, Upload, abort},
};
use crate::{
    connection::ConnectionError,
    error::{Error, RestartReason},
    event::Event,
    io::source::{Source, SourceError},
    session::Session,
    state::journal::{Journal, JournalEntry, JournaledPart, ResumeKey},
};

/// Pauses before each query while an upload that is to be abandoned is busy: the server may not
/// have noticed yet that its connection is gone.
const ABANDON_PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// The result of trying to resume.
enum ResumeOutcome {
    Stored(Committed),
    /// The upload cannot be resumed. It may still be open.
    Restart(RestartReason),
}

/// What an attempt does about an upload that was begun before it.
#[derive(Clone, Copy)]
struct AttemptPlan {
    resume: Resume,
    /// Whether starting over loses something worth reporting: the upload was begun by another
    /// command, or the server held some of it.
    report_restart: bool,
}

impl Session {
    /// Puts `source`, a regular file, with a journal.
    pub(super) fn put_journaled(
        &mut self,
        context: &PutContext<'_>,
        source: &dyn Source,
        journal: &Arc<Journal>,
    ) -> Result<PutReceipt, Error> {
        let mut plan = AttemptPlan { resume: context.options.resume, report_restart: true };
        let (mut held, mut most_held) = (0, 0);
        let mut is_unknown_to_server = false;
        let put = self.retry_until_stored(context, |client| {
            // The caller's choice is about an upload of an earlier command. An upload that this put
            // began is always resumed.
            let attempt = if is_unknown_to_server {
                // There is nothing to resume yet.
                client.start_over(context, source, journal)
            } else {
                client.attempt_journaled(context, source, plan, journal, &mut held)
            };
            plan = AttemptPlan { resume: Resume::Auto, report_restart: held > 0 };
            is_unknown_to_server = matches!(&attempt, Err(failed) if failed.is_unknown_to_server);
            attempt.map_err(|failed| {
                if matches!(failed.error, Error::Overtaken { .. }) {
                    // This put began the upload itself, so abandoning it is not reported.
                    plan.resume = Resume::Never;
                }
                client.release_upload(&failed.error);
                // Progress is measured against the highest count so far, so a server whose counts
                // go up and down cannot keep the client retrying for ever.
                let made_progress = held > most_held;
                most_held = most_held.max(held);
                // The journal has the header of the open upload.
                FailedAttempt { made_progress, open_upload: None, ..failed }
            })
        });
        if let Some(error) = journal.take_write_error() {
            self.warn_no_journal(context, error);
        }
        match &put {
            Ok(_) => {
                // The blob is stored although its journal cannot be removed.
                if let Err(error) = journal.discard().map_err(Error::from) {
                    self.notify(&context.notice(Event::JournalNotRemoved { error: &error }));
                }
            }
            // The reason for the failed put takes precedence over a journal that cannot be removed.
            Err(error) if is_unknown_to_server || is_journal_useless(error) => {
                drop(journal.discard())
            }
            Err(_) => {}
        }
        put
    }

    /// Resumes from the end of the journal, or starts over if the journal does not fit. `held` is
    /// set to the bytes of plaintext that the server holds.
    fn attempt_journaled(
        &mut self,
        context: &PutContext<'_>,
        source: &dyn Source,
        plan: AttemptPlan,
        journal: &Arc<Journal>,
        held: &mut u64,
    ) -> Result<PutReceipt, FailedAttempt> {
        match journal.entry()?.filter(|entry| !entry.parts.is_empty()) {
            Some(entry) => self.resume_or_restart(context, source, plan, &entry, journal, held),
            None if plan.resume == Resume::Insist => Err(Error::NothingToResume(None).into()),
            None => self.start_over(context, source, journal),
        }
    }

    fn resume_or_restart(
        &mut self,
        context: &PutContext<'_>,
        source: &dyn Source,
        AttemptPlan { resume, report_restart }: AttemptPlan,
        entry: &JournalEntry,
        journal: &Arc<Journal>,
        held: &mut u64,
    ) -> Result<PutReceipt, FailedAttempt> {
        let (reopened, resume_key) = self.reopen_source(context, source)?;
        let differs = self.restart_reason(context, entry, &resume_key)?;
        let may_resume = differs.is_none() && resume != Resume::Never;
        let reason = if may_resume {
            match self.try_resume(context, reopened, entry, journal, held)? {
                ResumeOutcome::Stored(committed) => {
                    return Ok(self.record_commit(context, &committed)?);
                }
                ResumeOutcome::Restart(why) => Some(why),
            }
        } else {
            differs
        };
        if resume == Resume::Insist {
            self.drop_connection();
            return Err(Error::NothingToResume(reason).into());
        }
        if may_resume {
            abort(self.connection()?)?;
        } else {
            self.abandon_upload(context, HeaderSlice::of(entry.header.clone()))?;
        }
        if let Some(why) = reason.filter(|_| resume == Resume::Auto && report_restart) {
            self.notify(&context.notice(Event::Restarted(why)));
        }
        self.start_over(context, source, journal)
    }

    fn start_over(
        &mut self,
        context: &PutContext<'_>,
        source: &dyn Source,
        journal: &Arc<Journal>,
    ) -> Result<PutReceipt, FailedAttempt> {
        let (reopened, resume_key) = self.reopen_source(context, source)?;
        let attempt = self.attempt(context, reopened, Some((journal, &resume_key)));
        attempt.map_err(|failed| FailedAttempt {
            is_unknown_to_server: !failed.reached_server,
            ..failed
        })
    }

    /// Reopens the source at its start and computes its [`ResumeKey`].
    fn reopen_source(
        &self,
        context: &PutContext<'_>,
        source: &dyn Source,
    ) -> Result<(Box<dyn Source>, ResumeKey), Error> {
        let reopened = source.reopen()?.ok_or(Error::Incomplete)?;
        let source = reopened.identity().ok_or(Error::Incomplete)?;
        let mut recipients = Hasher::new();
        for recipient in &self.key_file().recipients {
            recipients.update(recipient.to_string().as_bytes());
            recipients.update(b"\n");
        }
        let (sha256, recipients) = (context.options.sha256, recipients.finish());
        Ok((reopened, ResumeKey { source, sha256, recipients }))
    }

    /// Why the journaled upload is not of this source; `None` if it can be resumed.
    fn restart_reason(
        &self,
        context: &PutContext<'_>,
        entry: &JournalEntry,
        resume_key: &ResumeKey,
    ) -> Result<Option<RestartReason>, Error> {
        let header = Header::parse(&entry.header)?;
        let is_same = entry.resume_key == *resume_key
            && header.suite() == context.options.suite
            && header.object_key() == Some(&context.key);
        if !is_same {
            return Ok(Some(RestartReason::Changed));
        }
        // Readers would take the blob for a rollback.
        if context.server_generation.get() >= header.generation() {
            return Ok(Some(RestartReason::Superseded));
        }
        let newest = self.rollback_guard().newest(&context.key)?;
        let is_old = newest.is_some_and(|seen| {
            let seals = entry.transcript.map(|transcript| (header.generation(), transcript));
            seen.generation >= header.generation()
                && seals != Some((seen.generation, seen.transcript))
        });
        Ok(is_old.then_some(RestartReason::Superseded))
    }

    fn try_resume(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
        entry: &JournalEntry,
        journal: &Arc<Journal>,
        held: &mut u64,
    ) -> Result<ResumeOutcome, FailedAttempt> {
        context.progress.begin(source.length());
        let (file_key, sha256) = (entry.file_key.clone(), entry.resume_key.sha256);
        let sealer = Sealer::resume(&entry.header, file_key, Engine::default(), sha256)?;
        let (claims, claimed) = unbounded();
        let parts = entry.parts.iter().map(|part| part.digests).collect();
        let before = ResumedParts { parts, held: claimed, known: 0 };
        let header = HeaderSlice::of(entry.header.clone());
        let stored = match self.resume_or_be_refused(context, header)? {
            None => return Ok(ResumeOutcome::Restart(RestartReason::Refused)),
            Some(ResumeAnswer::Nothing) => {
                return Ok(ResumeOutcome::Restart(RestartReason::NotKept));
            }
            // The caller asks for this blob to be current now, so a version in the trash does not
            // count.
            Some(ResumeAnswer::Committed(version))
                if !self.is_current(context, entry, version)? =>
            {
                return Ok(ResumeOutcome::Restart(RestartReason::NoLongerCurrent));
            }
            Some(ResumeAnswer::Open) => {
                let writer = Some(journal.resume(entry));
                let stage = self.start_sealing(SealJob::resume(sealer, before, writer), source)?;
                let sent = self.claim_and_send(context, entry, claims, &stage, held);
                stage.join();
                sent
            }
            Some(ResumeAnswer::Committed(version)) => {
                let stage = self.start_sealing(SealJob::resume(sealer, before, None), source)?;
                let stored = self.verify_committed(context, entry, version, claims, &stage);
                stage.join();
                stored.map_err(FailedAttempt::from)
            }
        };
        match stored {
            Err(FailedAttempt { error: Error::Seal(SealError::AnotherPart { .. }), .. }) => {
                Ok(ResumeOutcome::Restart(RestartReason::Changed))
            }
            stored => stored.map(ResumeOutcome::Stored),
        }
    }

    /// Like [`Self::resume`], but returns `None` where the server refuses this header. `Malformed`
    /// may come from damage on the line, so it is believed only when a second connection brings it
    /// too.
    fn resume_or_be_refused(
        &mut self,
        context: &PutContext<'_>,
        header: HeaderSlice,
    ) -> Result<Option<ResumeAnswer>, Error> {
        let mut resumed = self.resume(context, header.clone());
        if refusal_code(&resumed) == Some(ErrorCode::Malformed) {
            self.drop_connection();
            resumed = self.resume(context, header);
        }
        match refusal_code(&resumed) {
            // Sealed again the blob gets another generation.
            Some(ErrorCode::Malformed | ErrorCode::Ahead) => {
                self.drop_connection();
                Ok(None)
            }
            _ => resumed.map(Some),
        }
    }

    /// Asks the server to resume the upload with this header.
    pub(super) fn resume(
        &mut self,
        context: &PutContext<'_>,
        header: HeaderSlice,
    ) -> Result<ResumeAnswer, Error> {
        let condition = context.options.condition;
        Upload::resume(self.connection()?, &context.key, header, condition)
    }

    /// Whether `version` is the current one. A device that may only put can ask this only through a
    /// condition.
    fn is_current(
        &mut self,
        context: &PutContext<'_>,
        entry: &JournalEntry,
        version: Version,
    ) -> Result<bool, Error> {
        let header = Some(HeaderSlice::of(entry.header.clone()));
        let (kind, condition) = (Kind::Sealed, Condition::Version(version));
        let begin = Request::Begin { key: context.key.clone(), kind, condition, header };
        let connection = self.connection()?;
        match connection.call(&begin) {
            Ok(Response::Begun) => abort(connection).map(|()| true).map_err(Error::from),
            Ok(_) => Err(connection.unexpected("something else than an upload").into()),
            Err(ConnectionError::Refused { error, .. })
                if error.known() == Some(ErrorCode::Exists) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Claims the journaled parts and sends those that the server does not hold.
    fn claim_and_send(
        &mut self,
        context: &PutContext<'_>,
        entry: &JournalEntry,
        claims: Sender<HeldParts>,
        stage: &SealStage,
        held: &mut u64,
    ) -> Result<Committed, FailedAttempt> {
        let (guard, notify) = (self.rollback_guard().clone(), self.notice_handler());
        let header = HeaderSlice::of(entry.header.clone());
        let mut upload = Upload::attach(self.connection()?);
        *held = claim(&mut upload, &entry.parts, claims, context)?;
        let event = Event::Resumed { held: *held, length: entry.resume_key.source.size };
        notify(&context.notice(event));
        send_and_commit(upload, stage, context, &guard, header)
    }

    /// The upload was committed as `version`: compares the whole source with the recorded parts.
    fn verify_committed(
        &mut self,
        context: &PutContext<'_>,
        entry: &JournalEntry,
        version: Version,
        claims: Sender<HeldParts>,
        stage: &SealStage,
    ) -> Result<Committed, Error> {
        let Some(transcript) = entry.transcript else {
            let what = "that it committed what it never was told to";
            return Err(self.connection()?.unexpected(what).into());
        };
        // The sealing thread compares the parts.
        let _disconnected = claims.send(HeldParts::AtLeast(entry.parts.len()));
        drop(claims);
        match stage.pieces.recv().map_err(|_| Error::Incomplete)?? {
            SealedPiece::Footer(footer) => {
                let generation = Header::parse(&entry.header)?.generation();
                let (seen, length) = (Seen { generation, transcript }, footer.total_length);
                context.progress.held(length);
                self.notify(&context.notice(Event::AlreadyStored(version)));
                Ok(Committed { version, seen, length })
            }
            SealedPiece::Header(_) | SealedPiece::Part { .. } => Err(Error::Incomplete),
        }
    }

    /// Tells the server that no put will resume the upload with this header. An upload that stays
    /// busy expires on the server by itself.
    pub(super) fn abandon_upload(
        &mut self,
        context: &PutContext<'_>,
        header: HeaderSlice,
    ) -> Result<(), Error> {
        for pause in ABANDON_PAUSES {
            thread::sleep(pause);
            match self.resume(context, header.clone()) {
                Ok(ResumeAnswer::Open) => return Ok(abort(self.connection()?)?),
                Ok(ResumeAnswer::Nothing | ResumeAnswer::Committed(_)) => return Ok(()),
                // The server refuses to commit this upload, so it needs no abort.
                Err(Error::Overtaken { .. }) => return Ok(()),
                // The header belongs to another name, as in a journal file that was moved. Nothing
                // was kept under this name.
                Err(Error::Connection(ConnectionError::Refused { error, .. }))
                    if error.known() == Some(ErrorCode::Malformed) =>
                {
                    self.drop_connection();
                    return Ok(());
                }
                // The server has not noticed yet that the old connection is gone.
                Err(Error::Connection(ConnectionError::Refused { error, .. }))
                    if error.known() == Some(ErrorCode::Busy) => {}
                Err(error) => return Err(error),
            }
        }
        // The upload expires on the server by itself.
        Ok(())
    }

    /// After a failed attempt: keeps an upload that can be resumed, and aborts one that cannot.
    fn release_upload(&mut self, error: &Error) {
        let is_useless = is_journal_useless(error) || matches!(error, Error::Overtaken { .. });
        if is_useless || matches!(error, Error::Connection(_)) {
            self.recover(error, abort);
        } else {
            self.drop_connection();
        }
    }
}

/// Claims `parts` and tells the sealing thread how many of them the server holds. Returns the bytes
/// of plaintext in those.
fn claim(
    upload: &mut Upload<'_>,
    parts: &[JournaledPart],
    claims: Sender<HeldParts>,
    context: &PutContext<'_>,
) -> Result<u64, Error> {
    let (mut count, mut bytes) = (0, 0);
    for some in parts.chunks(CLAIM_MAX_SLICES) {
        let slices: Vec<ClaimedSlice> = some.iter().map(claimed).collect();
        let held = upload.claim(&slices)?;
        let plain: u64 = some.iter().take(held).filter_map(|part| plain_len(part.length)).sum();
        context.progress.held(plain);
        (count, bytes) = (count + held, bytes + plain);
        // The send fails if the sealer has stopped because the file is another one.
        let _disconnected = claims.send(HeldParts::AtLeast(count));
        if held < some.len() {
            break;
        }
    }
    let _disconnected = claims.send(HeldParts::Final);
    Ok(bytes)
}

fn claimed(part: &JournaledPart) -> ClaimedSlice {
    // A sealed part is at most 16 MiB plus its authentication tags.
    ClaimedSlice { length: part.length as u32, digest: part.digests.ciphertext }
}

/// The code that the server refused with.
fn refusal_code<T>(answer: &Result<T, Error>) -> Option<ErrorCode> {
    match answer {
        Err(Error::Connection(ConnectionError::Refused { error, .. })) => error.known(),
        _ => None,
    }
}

/// Whether the journal is useless: the file has changed, or all of it is stored. A refusal proves
/// neither: on an unprotected connection request and answer may have been altered, and the next put
/// detects a journal that no longer fits.
fn is_journal_useless(error: &Error) -> bool {
    matches!(error, Error::Source(SourceError::Changed(_)) | Error::NotRecorded { .. })
}
