//! Ways to ask a store: over a connection to a server, or from this process.

use std::os::unix::fs::FileExt as _;

use zput_proto::{
    digest::Digest,
    message::{
        Condition, ErrorCode, Kind, Request, Response, Section, Version, VersionInfo, VersionState,
    },
    name::ObjectKey,
    session::ClientConfig,
};
use zput_server::store::{Store, StoreError};
use zput_tests::RawClient;

use super::object::Answer;

/// Most versions of one object in one history.
const VERSIONS_MAX: u32 = 1000;

/// How an object is asked for.
pub(crate) trait Port: Send {
    fn put(&mut self, key: &ObjectKey, body: &[u8], condition: Condition) -> Answer;
    fn delete(&mut self, key: &ObjectKey, condition: Condition) -> Answer;
    fn restore(&mut self, key: &ObjectKey, version: u64) -> Answer;
    fn get(&mut self, key: &ObjectKey, version: Option<u64>) -> Option<(u64, Vec<u8>)>;
    fn list(&mut self, key: &ObjectKey) -> Vec<(u64, VersionState)>;
}

/// A body in slices, so that there is something between begin and commit.
fn slices(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.chunks(400)
}

fn answer(code: ErrorCode) -> Answer {
    match code {
        ErrorCode::NotFound => Answer::NotFound,
        ErrorCode::Exists => Answer::Exists,
        other => panic!("{other:?}"),
    }
}

fn listed(versions: Vec<VersionInfo>) -> Vec<(u64, VersionState)> {
    versions.into_iter().map(|info| (info.version.0, info.state)).collect()
}

impl Port for Store {
    fn put(&mut self, key: &ObjectKey, body: &[u8], condition: Condition) -> Answer {
        let put = || {
            let mut upload = self.begin(key, Kind::Plain, condition, None)?;
            for slice in slices(body) {
                upload.start_slice(slice.len() as u32, Digest::of(slice))?;
                upload.write(slice)?;
                upload.end_slice()?;
            }
            upload.commit()
        };
        done(put())
    }

    fn delete(&mut self, key: &ObjectKey, condition: Condition) -> Answer {
        done(Self::delete(self, key, condition))
    }

    fn restore(&mut self, key: &ObjectKey, version: u64) -> Answer {
        done(Self::restore(self, key, Version(version)))
    }

    fn get(&mut self, key: &ObjectKey, version: Option<u64>) -> Option<(u64, Vec<u8>)> {
        match until_it_rests(|| self.lookup(key, version.map(Version)), StoreError::code) {
            Ok(object) => {
                let mut bytes = vec![0; object.info().length as usize];
                object.file().read_exact_at(&mut bytes, 0).unwrap();
                Some((object.version().0, bytes))
            }
            Err(StoreError::NotFound) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn list(&mut self, key: &ObjectKey) -> Vec<(u64, VersionState)> {
        match until_it_rests(|| self.versions(key, None, VERSIONS_MAX), StoreError::code) {
            Ok((versions, _, _)) => listed(versions),
            Err(StoreError::NotFound) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Asks again while writers change what is asked for too often.
fn until_it_rests<T, E>(
    mut ask: impl FnMut() -> Result<T, E>,
    code: impl Fn(&E) -> ErrorCode,
) -> Result<T, E> {
    loop {
        match ask() {
            Err(error) if code(&error) == ErrorCode::Busy => {}
            answer => return answer,
        }
    }
}

fn done(result: Result<Version, StoreError>) -> Answer {
    match result {
        Ok(version) => Answer::Done(version.0),
        Err(error) => answer(error.code()),
    }
}

/// A connection to a server that allows anonymous peers all operations.
pub(crate) struct Connection(RawClient);

impl Connection {
    pub(crate) fn to(address: &str) -> Self {
        Self(RawClient::connect(address, &ClientConfig::Plaintext).unwrap())
    }

    fn ask(&mut self, request: &Request) -> Result<Response, ErrorCode> {
        self.0.send(request).unwrap();
        self.heard()
    }

    fn heard(&mut self) -> Result<Response, ErrorCode> {
        match self.0.receive().unwrap() {
            Response::Error(error) => Err(error.known().unwrap()),
            response => Ok(response),
        }
    }
}

impl Port for Connection {
    fn put(&mut self, key: &ObjectKey, body: &[u8], condition: Condition) -> Answer {
        let (key, kind) = (key.clone(), Kind::Plain);
        self.0.send(&Request::Begin { key, kind, condition, header: None }).unwrap();
        for slice in slices(body) {
            self.0.slice(slice).unwrap();
        }
        self.0.send(&Request::Commit).unwrap();
        let answers: Vec<_> = (0..slices(body).count() + 2).map(|_| self.heard()).collect();
        // What follows the first refusal is refused for that reason.
        match answers.iter().find_map(|answer| answer.as_ref().err()) {
            Some(code) => answer(*code),
            None => match answers.last() {
                Some(Ok(Response::Committed { version })) => Answer::Done(version.0),
                other => panic!("{other:?}"),
            },
        }
    }

    fn delete(&mut self, key: &ObjectKey, condition: Condition) -> Answer {
        match self.ask(&Request::Delete { key: key.clone(), condition }) {
            Ok(Response::Deleted { version }) => Answer::Done(version.0),
            Err(code) => answer(code),
            other => panic!("{other:?}"),
        }
    }

    fn restore(&mut self, key: &ObjectKey, version: u64) -> Answer {
        match self.ask(&Request::Restore { key: key.clone(), version: Version(version) }) {
            Ok(Response::Committed { version }) => Answer::Done(version.0),
            Err(code) => answer(code),
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, key: &ObjectKey, version: Option<u64>) -> Option<(u64, Vec<u8>)> {
        let (key, version) = (key.clone(), version.map(Version));
        let (sections, kind) = (vec![Section::All], Kind::Plain);
        let get = Request::Get { key, version, sections, kind };
        match until_it_rests(|| self.ask(&get), |code| *code) {
            Ok(Response::Object { info, .. }) => Some((info.version.0, self.0.payload().unwrap())),
            Err(ErrorCode::NotFound) => None,
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self, key: &ObjectKey) -> Vec<(u64, VersionState)> {
        let list = Request::Versions { key: key.clone(), after: None, limit: VERSIONS_MAX };
        match until_it_rests(|| self.ask(&list), |code| *code) {
            Ok(Response::Versions { versions, .. }) => listed(versions),
            Err(ErrorCode::NotFound) => Vec::new(),
            other => panic!("{other:?}"),
        }
    }
}
