//! A put of a file of several parts, which goes on where an earlier one was interrupted.
//!
//! The journal knows what was sealed. The server says how much of that it holds; meanwhile the file is read again
//! from its start, and each part that is held is compared with what was sealed in it. What is behind them is sealed
//! and sent. A file that is another one, or has other contents, becomes a new blob under a new file key, and the
//! old upload is given up.

use std::{sync::Arc, thread, time::Duration};

use crossbeam_channel::{Sender, unbounded};
use zput_common::{
    aead::Engine,
    blob::{
        header::Header,
        open::Seen,
        seal::{SealError, Sealer},
    },
    chunked::plain_len,
    digest::Hasher,
    limits::CLAIM_MAX_SLICES,
    proto::message::{
        ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Version,
    },
};

use super::{
    PutReceipt, Resume, Target,
    attempt::{Committed, Failed, SealedStage, send},
};
use crate::{
    client::Client,
    connection::ConnectionError,
    error::ClientError,
    journal::{Entry, Journal, JournaledPart, Subject},
    notice::{Event, StartOver},
    seal::{Before, Held, Sealed, Sealing},
    send::{Resumed, Upload, abort},
    source::{Source, SourceError},
};

/// How long an upload that is to be given up may be busy: the pauses before it is asked about.
const GIVING_UP: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// What came of going on.
enum GoneOn {
    Stored(Committed),
    /// It cannot be gone on with. The upload may be open.
    Not(StartOver),
}

/// How an attempt is to go about what was begun before it.
#[derive(Clone, Copy)]
struct Course {
    resume: Resume,
    /// Whether something is lost where it is not gone on with: it was begun by another command, or the
    /// server has held some of it.
    is_news: bool,
}

impl Client {
    /// Puts `source`, which is a file.
    pub(super) fn put_journaled(
        &mut self,
        target: &Target<'_>,
        source: &dyn Source,
        journal: &Arc<Journal>,
    ) -> Result<PutReceipt, ClientError> {
        let mut course = Course { resume: target.options.resume, is_news: true };
        let (mut held, mut most_held) = (0, 0);
        let mut is_unheard = false;
        let put = self.until_stored(target, |client| {
            // It is about what was there before. What this put begins, it goes on with.
            let attempt = if is_unheard {
                // There is nothing to go on with yet.
                client.begin(target, source, journal)
            } else {
                client.attempt_journaled(target, source, course, journal, &mut held)
            };
            course = Course { resume: Resume::Auto, is_news: held > 0 };
            is_unheard = matches!(&attempt, Err(failed) if failed.is_unheard);
            attempt.map_err(|failed| {
                if matches!(failed.error, ClientError::Overtaken { .. }) {
                    // What this put began is not what was interrupted: nothing has to be said of it.
                    course.resume = Resume::Never;
                }
                client.let_go(&failed.error);
                // A server that says less and more by turns does not keep anybody for ever.
                let progressed = held > most_held;
                most_held = most_held.max(held);
                // The journal has its header.
                Failed { progressed, begun: None, ..failed }
            })
        });
        if let Some(error) = journal.broken() {
            self.warn_of_journal(target, error);
        }
        match &put {
            Ok(_) => {
                // It is stored all the same.
                if let Err(error) = journal.discard().map_err(ClientError::from) {
                    self.tell(&target.notice(Event::JournalStays { error: &error }));
                }
            }
            // Why it was not stored is the worse news.
            Err(error) if is_unheard || leaves_nothing(error) => drop(journal.discard()),
            Err(_) => {}
        }
        put
    }

    /// Puts from where the journal ends; anew where it has nothing that fits. `held` becomes what the server says it holds.
    fn attempt_journaled(
        &mut self,
        target: &Target<'_>,
        source: &dyn Source,
        course: Course,
        journal: &Arc<Journal>,
        held: &mut u64,
    ) -> Result<PutReceipt, Failed> {
        match journal.entry()?.filter(|entry| !entry.parts.is_empty()) {
            Some(entry) => self.go_on_or_begin(target, source, course, &entry, journal, held),
            None if course.resume == Resume::Insist => {
                Err(ClientError::NothingToResume(None).into())
            }
            None => self.begin(target, source, journal),
        }
    }

    fn go_on_or_begin(
        &mut self,
        target: &Target<'_>,
        source: &dyn Source,
        Course { resume, is_news }: Course,
        entry: &Entry,
        journal: &Arc<Journal>,
        held: &mut u64,
    ) -> Result<PutReceipt, Failed> {
        let (again, subject) = self.opened(target, source)?;
        let differs = self.why_not(target, entry, &subject)?;
        let goes_on = differs.is_none() && resume != Resume::Never;
        let why_not = if goes_on {
            match self.go_on(target, again, entry, journal, held)? {
                GoneOn::Stored(committed) => return Ok(self.stored(target, &committed)?),
                GoneOn::Not(why) => Some(why),
            }
        } else {
            differs
        };
        if resume == Resume::Insist {
            self.hang_up();
            return Err(ClientError::NothingToResume(why_not).into());
        }
        if goes_on {
            abort(self.connection()?)?;
        } else {
            self.give_up(target, HeaderSlice::of(entry.header.clone()))?;
        }
        if let Some(why) = why_not.filter(|_| resume == Resume::Auto && is_news) {
            self.tell(&target.notice(Event::StartsOver(why)));
        }
        self.begin(target, source, journal)
    }

    fn begin(
        &mut self,
        target: &Target<'_>,
        source: &dyn Source,
        journal: &Arc<Journal>,
    ) -> Result<PutReceipt, Failed> {
        let (again, subject) = self.opened(target, source)?;
        let attempt = self.attempt(target, again, Some((journal, &subject)));
        attempt.map_err(|failed| Failed { is_unheard: !failed.is_begun, ..failed })
    }

    /// The source from its start, and what tells it from others.
    fn opened(
        &self,
        target: &Target<'_>,
        source: &dyn Source,
    ) -> Result<(Box<dyn Source>, Subject), ClientError> {
        let again = source.again()?.ok_or(ClientError::Incomplete)?;
        let source = again.identity().ok_or(ClientError::Incomplete)?;
        let mut recipients = Hasher::new();
        for recipient in &self.key_file().recipients {
            recipients.update(recipient.to_string().as_bytes());
            recipients.update(b"\n");
        }
        let (sha256, recipients) = (target.options.sha256, recipients.finish());
        Ok((again, Subject { source, sha256, recipients }))
    }

    /// Why what was begun is not what is to be put now.
    fn why_not(
        &self,
        target: &Target<'_>,
        entry: &Entry,
        subject: &Subject,
    ) -> Result<Option<StartOver>, ClientError> {
        let header = Header::parse(&entry.header)?;
        let is_same = entry.subject == *subject
            && header.suite() == target.options.suite
            && header.object_key() == Some(&target.key);
        if !is_same {
            return Ok(Some(StartOver::Changed));
        }
        // Readers would take it for a rollback.
        if target.there.get() >= header.generation() {
            return Ok(Some(StartOver::Superseded));
        }
        let newest = self.record().newest(&target.key)?;
        let is_old = newest.is_some_and(|seen| {
            let seals = entry.end.map(|transcript| (header.generation(), transcript));
            seen.generation >= header.generation()
                && seals != Some((seen.generation, seen.transcript))
        });
        Ok(is_old.then_some(StartOver::Superseded))
    }

    fn go_on(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
        entry: &Entry,
        journal: &Arc<Journal>,
        held: &mut u64,
    ) -> Result<GoneOn, Failed> {
        target.progress.begin(source.length());
        let (file_key, sha256) = (entry.file_key.clone(), entry.subject.sha256);
        let sealer = Sealer::resume(&entry.header, file_key, Engine::default(), sha256)?;
        let (claims, claimed) = unbounded();
        let parts = entry.parts.iter().map(|part| part.digests).collect();
        let before = Before { parts, held: claimed, known: 0 };
        let header = HeaderSlice::of(entry.header.clone());
        let stored = match self.resume_or_be_refused(target, header)? {
            None => return Ok(GoneOn::Not(StartOver::Refused)),
            Some(Resumed::Nothing) => return Ok(GoneOn::Not(StartOver::NotKept)),
            // Whoever asks for it now does not want it in the trash.
            Some(Resumed::Committed(version)) if !self.is_current(target, entry, version)? => {
                return Ok(GoneOn::Not(StartOver::Gone));
            }
            Some(Resumed::Open) => {
                let rows = Some(journal.resume(entry));
                let stage = self.start(Sealing::going_on(sealer, before, rows), source)?;
                let sent = self.send_rest(target, entry, claims, &stage, held);
                stage.join();
                sent
            }
            Some(Resumed::Committed(version)) => {
                let stage = self.start(Sealing::going_on(sealer, before, None), source)?;
                let stored = self.compare(target, entry, version, claims, &stage);
                stage.join();
                stored.map_err(Failed::from)
            }
        };
        match stored {
            Err(Failed { error: ClientError::Seal(SealError::AnotherPart { .. }), .. }) => {
                Ok(GoneOn::Not(StartOver::Changed))
            }
            stored => stored.map(GoneOn::Stored),
        }
    }

    /// The same as [`Self::resume`]; `None` where the server will not have an upload with this header. That a request was
    /// malformed may be the line's doing, and is believed when it is said twice.
    fn resume_or_be_refused(
        &mut self,
        target: &Target<'_>,
        header: HeaderSlice,
    ) -> Result<Option<Resumed>, ClientError> {
        let mut resumed = self.resume(target, header.clone());
        if refused_with(&resumed) == Some(ErrorCode::Malformed) {
            self.hang_up();
            resumed = self.resume(target, header);
        }
        match refused_with(&resumed) {
            // Sealed again it may be of a generation that does.
            Some(ErrorCode::Malformed | ErrorCode::Ahead) => {
                self.hang_up();
                Ok(None)
            }
            _ => resumed.map(Some),
        }
    }

    /// Asks for the upload with this header.
    pub(super) fn resume(
        &mut self,
        target: &Target<'_>,
        header: HeaderSlice,
    ) -> Result<Resumed, ClientError> {
        let condition = target.options.condition;
        Upload::resume(self.connection()?, &target.key, header, condition)
    }

    /// Whether a version is the current one; a device that may only put can ask by a condition alone.
    fn is_current(
        &mut self,
        target: &Target<'_>,
        entry: &Entry,
        version: Version,
    ) -> Result<bool, ClientError> {
        let header = Some(HeaderSlice::of(entry.header.clone()));
        let (kind, condition) = (Kind::Sealed, Condition::Version(version));
        let begin = Request::Begin { key: target.key.clone(), kind, condition, header };
        let connection = self.connection()?;
        match connection.ask(&begin) {
            Ok(Response::Begun) => abort(connection).map(|()| true).map_err(ClientError::from),
            Ok(_) => Err(connection.unexpected("something else than an upload").into()),
            Err(ConnectionError::Refused { error, .. })
                if error.known() == Some(ErrorCode::Exists) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Claims what was sealed, and sends what the server has not.
    fn send_rest(
        &mut self,
        target: &Target<'_>,
        entry: &Entry,
        claims: Sender<Held>,
        stage: &SealedStage,
        held: &mut u64,
    ) -> Result<Committed, Failed> {
        let (record, listener) = (self.record().clone(), self.listener());
        let header = HeaderSlice::of(entry.header.clone());
        let mut upload = Upload::opened(self.connection()?);
        *held = claim(&mut upload, &entry.parts, claims, target)?;
        let event = Event::GoesOn { held: *held, length: entry.subject.source.size };
        listener(&target.notice(event));
        send(upload, stage, target, &record, header)
    }

    /// It was committed, as `version`: compares the source with all of it.
    fn compare(
        &mut self,
        target: &Target<'_>,
        entry: &Entry,
        version: Version,
        claims: Sender<Held>,
        stage: &SealedStage,
    ) -> Result<Committed, ClientError> {
        let Some(transcript) = entry.end else {
            let what = "that it committed what it never was told to";
            return Err(self.connection()?.unexpected(what).into());
        };
        // Whoever receives it compares the parts.
        let _waits = claims.send(Held::AtLeast(entry.parts.len()));
        drop(claims);
        match stage.pieces.recv().map_err(|_| ClientError::Incomplete)?? {
            Sealed::Footer(footer) => {
                let generation = Header::parse(&entry.header)?.generation();
                let (seen, length) = (Seen { generation, transcript }, footer.total_length);
                target.progress.held(length);
                self.tell(&target.notice(Event::WasStored(version)));
                Ok(Committed { version, seen, length })
            }
            Sealed::Header(_) | Sealed::Part { .. } => Err(ClientError::Incomplete),
        }
    }

    /// Tells the server that nobody comes back to an upload.
    pub(super) fn give_up(
        &mut self,
        target: &Target<'_>,
        header: HeaderSlice,
    ) -> Result<(), ClientError> {
        for pause in GIVING_UP {
            thread::sleep(pause);
            match self.resume(target, header.clone()) {
                Ok(Resumed::Open) => return Ok(abort(self.connection()?)?),
                Ok(Resumed::Nothing | Resumed::Committed(_)) => return Ok(()),
                // The server has let go of it: it cannot be committed any more.
                Err(ClientError::Overtaken { .. }) => return Ok(()),
                // The header is of another name, as in a journal that was moved: under this one nothing was kept.
                Err(ClientError::Connection(ConnectionError::Refused { error, .. }))
                    if error.known() == Some(ErrorCode::Malformed) =>
                {
                    self.hang_up();
                    return Ok(());
                }
                // The server has not noticed yet that its connection is gone.
                Err(ClientError::Connection(ConnectionError::Refused { error, .. }))
                    if error.known() == Some(ErrorCode::Busy) => {}
                Err(error) => return Err(error),
            }
        }
        // It does not keep it for ever.
        Ok(())
    }

    /// After a failure: what can be gone on with stays on the server.
    fn let_go(&mut self, error: &ClientError) {
        let is_of_no_use = leaves_nothing(error) || matches!(error, ClientError::Overtaken { .. });
        if is_of_no_use || matches!(error, ClientError::Connection(_)) {
            self.recover(error, abort);
        } else {
            self.hang_up();
        }
    }
}

/// Claims `parts`, and hands on how many the server holds; gives the bytes of plaintext in those.
fn claim(
    upload: &mut Upload<'_>,
    parts: &[JournaledPart],
    claims: Sender<Held>,
    target: &Target<'_>,
) -> Result<u64, ClientError> {
    let (mut count, mut bytes) = (0, 0);
    for some in parts.chunks(CLAIM_MAX_SLICES) {
        let slices: Vec<ClaimedSlice> = some.iter().map(claimed).collect();
        let held = upload.claim(&slices)?;
        let plain: u64 = some.iter().take(held).filter_map(|part| plain_len(part.length)).sum();
        target.progress.held(plain);
        (count, bytes) = (count + held, bytes + plain);
        // The sealer may have found that the file is another one.
        let _waits = claims.send(Held::AtLeast(count));
        if held < some.len() {
            break;
        }
    }
    let _waits = claims.send(Held::NoMore);
    Ok(bytes)
}

fn claimed(part: &JournaledPart) -> ClaimedSlice {
    // A sealed part has at most 16 MiB and a little.
    ClaimedSlice { length: part.length as u32, digest: part.digests.ciphertext }
}

/// What a server said no with.
fn refused_with<T>(answer: &Result<T, ClientError>) -> Option<ErrorCode> {
    match answer {
        Err(ClientError::Connection(ConnectionError::Refused { error, .. })) => error.known(),
        _ => None,
    }
}

/// Whether nothing is left to go on with: the file has become another one, or all of it is stored. That a server refuses
/// something is no proof of it. Where nothing protects the connection the request, or the answer, may have been changed on
/// its way; and a journal that is of no use any more is found to be so by the next put.
fn leaves_nothing(error: &ClientError) -> bool {
    matches!(error, ClientError::Source(SourceError::Changed(_)) | ClientError::Unrecorded { .. })
}
