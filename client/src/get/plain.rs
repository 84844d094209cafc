//! A get of unsealed bytes, which only the server vouches for.

use zput_proto::{
    hello::Mode,
    message::{Kind, Request, Response, Section, Version},
    name::{BlobName, ObjectKey},
};

use super::{
    options::{GetOptions, clamp_range},
    receive::receive,
    request::{ObjectAnswer, request_object},
};
use crate::{
    error::Error,
    io::{progress::Progress, sink::Sink},
    retry::RetryState,
    session::Session,
};

impl Session {
    /// Gets the unsealed object called `name`. Only the server vouches for its contents.
    ///
    /// # Errors
    /// When there is none, or the connection is protected by TLS.
    pub fn get_unsealed(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(Version, u64), Error> {
        self.refuse_unsealed_over_tls()?;
        let key = self.key_file().object_key(name);
        let mut retries = RetryState::default();
        let got = loop {
            // Nothing authenticates the bytes, so a second answer cannot be known to continue the
            // first.
            let mut nothing_written = true;
            let got = self.get_plain(&key, options, &mut nothing_written, sink, progress);
            let paused = match self.drop_on_error(got) {
                Err(error) if nothing_written => {
                    self.pause(&mut retries, Some(name.as_str()), error)
                }
                got => break got,
            };
            if let Err(error) = paused {
                break Err(error);
            }
        };
        progress.end();
        got
    }

    fn get_plain(
        &mut self,
        key: &ObjectKey,
        options: &GetOptions,
        nothing_written: &mut bool,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(Version, u64), Error> {
        let connection = self.connection()?;
        let mut version = options.version;
        let mut section = Section::All;
        let mut expected = None;
        if options.range.is_some() {
            let Response::Stat { info } =
                connection.call(&Request::Stat { key: key.clone(), version })?
            else {
                return Err(connection.unexpected("not what it knows of the object").into());
            };
            let range = clamp_range(options.range, info.length)?;
            let length = range.end - range.start;
            version = Some(info.version);
            section = Section::Range { offset: range.start, length };
            expected = Some(length);
        }
        let (key, sections) = (key.clone(), vec![section]);
        let request = Request::Get { key, version, sections, kind: Kind::Plain };
        let ObjectAnswer { info, payload, .. } = request_object(connection, &request)?;
        if info.kind != Kind::Plain || payload != expected.unwrap_or(info.length) {
            return Err(Error::Envelope("not the unsealed bytes that were asked for"));
        }
        progress.begin(Some(payload));
        receive(connection, payload, &mut |received| progress.advance(received), |blocks| {
            let mut left = payload;
            while left > 0 {
                let Some(bytes) = blocks.next(left) else { return Err(Error::Incomplete) };
                left -= bytes.len() as u64;
                *nothing_written = false;
                sink.write(bytes)?;
            }
            Ok(())
        })?;
        Ok((info.version, payload))
    }

    pub(crate) fn refuse_unsealed_over_tls(&self) -> Result<(), Error> {
        match self.mode() {
            Mode::Plaintext => Ok(()),
            Mode::Tls => Err(Error::UnsealedOverTls),
        }
    }
}
