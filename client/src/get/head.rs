//! Fetches header and footer of a blob, and verifies them.

use zput_proto::message::{Kind, Request, Section};
use zput_seal::{
    aead::Engine,
    blob::{header::Header, open::Seen},
    keys::Role,
};

use super::{
    lengths::check_lengths,
    receive::receive_small,
    request::{BlobHead, HeadRequest, ObjectAnswer, request_object},
};
use crate::{
    error::Error,
    event::{Event, Notice},
    session::Session,
    state::rollback::RollbackError,
};

impl Session {
    /// Requests header and footer and verifies them in the order of trust (FORMAT 9, 1 to 6).
    pub(crate) fn fetch_head(&mut self, query: &HeadRequest<'_>) -> Result<BlobHead, Error> {
        let Some(identity) = self.key_file().identity().cloned() else {
            return Err(Error::CannotOpen(Role::Put));
        };
        let mut sections = vec![Section::Header, Section::Footer];
        if query.body {
            sections.push(Section::Body);
        }
        let request = Request::Get {
            key: query.key.clone(),
            version: query.version,
            sections,
            kind: Kind::Sealed,
        };
        let connection = self.connection()?;
        let ObjectAnswer { info, header, payload } = request_object(connection, &request)?;
        let header = header.unwrap_or_default();
        check_lengths(&info, header.len(), payload, query)?;
        let footer = receive_small(connection, info.footer_length)?;

        let parsed = Header::parse(&header)?;
        let recipients = parsed.stanzas().len();
        let authentic = parsed.unwrap_file_key(&[identity])?.authenticate(Engine::default())?;
        let vouched =
            self.check_name(authentic, query.key)?.vouched_by(&footer, &self.vouching())?;
        let newest = match query.version {
            None => self.rollback_guard().newest(query.key)?,
            Some(_) => None,
        };
        let accept = query.allow_rollback;
        let trusted = vouched.not_older_than(newest.as_ref().filter(|_| !accept))?;
        if trusted.layout().object_length(info.footer_length) != info.length {
            return Err(Error::Envelope("the lengths do not add up"));
        }
        if query.version.is_none() {
            let recorded = self.record_seen(query, newest, &trusted.seen());
            self.rollback_warning().warn_once(info.version, recorded)?;
        }
        Ok(BlobHead { info, recipients, trusted, header, footer })
    }

    /// Advances the rollback guard to what was verified.
    fn record_seen(
        &self,
        query: &HeadRequest<'_>,
        newest: Option<Seen>,
        seen: &Seen,
    ) -> Result<(), RollbackError> {
        match newest {
            Some(newest) if newest == *seen => Ok(()),
            Some(newest) if query.allow_rollback && newest.generation >= seen.generation => {
                self.rollback_guard().accept(query.key, seen)
            }
            _ => {
                if self.rollback_guard().is_ahead(seen.generation) {
                    let event = Event::GenerationAhead { generation: seen.generation };
                    self.notify(&Notice { thing: None, event });
                }
                self.rollback_guard().advance(query.key, seen)
            }
        }
    }
}
