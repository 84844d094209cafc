//! What a server keeps, and how an honest one answers from it.

use std::collections::BTreeMap;

use zput_proto::{
    digest::Digest,
    envelope,
    message::{
        Condition, Entry, ErrorCode, Info, Kind, RemoteError, Request, Response, Scopes, Section,
        Version, VersionInfo, VersionState,
    },
    name::ObjectKey,
};

use super::server::{Answer, Payload};

/// A version of an object, and what the server says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bytes of the object, as the server sends them.
    pub bytes: Vec<u8>,
    /// What the server says of it; its lengths are also where the server cuts header and footer.
    pub info: Info,
}

impl Stored {
    /// `bytes` as an honest server describes them: cut by their own framing, or a plain object.
    #[must_use]
    pub fn new(version: u64, bytes: Vec<u8>) -> Self {
        let tail = bytes.len().saturating_sub(envelope::TAIL_BYTES);
        let header_length = envelope::header_length(&bytes).ok();
        let footer_length = envelope::footer_length(&bytes[tail..]).ok();
        let kind = if header_length.is_some() { Kind::Sealed } else { Kind::Plain };
        let info = Info {
            version: Version(version),
            kind,
            length: bytes.len() as u64,
            header_length: header_length.unwrap_or(0),
            footer_length: footer_length.unwrap_or(0),
        };
        Self { bytes, info }
    }

    /// Other bytes under the same description, but for the length.
    #[must_use]
    pub fn with(&self, bytes: Vec<u8>) -> Self {
        let info = Info { length: bytes.len() as u64, ..self.info };
        Self { bytes, info }
    }

    /// The bytes of a section, as far as there are any.
    fn section(&self, section: &Section) -> &[u8] {
        let length = self.bytes.len();
        let header = (self.info.header_length as usize).min(length);
        let footer = length.saturating_sub(self.info.footer_length as usize).max(header);
        match section {
            Section::Header => &self.bytes[..header],
            Section::Footer => &self.bytes[footer..],
            Section::Body => &self.bytes[header..footer],
            Section::All => &self.bytes,
            Section::Range { offset, length } => {
                let from = usize::try_from(*offset).unwrap_or(usize::MAX).min(self.bytes.len());
                let behind = &self.bytes[from..];
                &behind[..usize::try_from(*length).unwrap_or(usize::MAX).min(behind.len())]
            }
        }
    }
}

/// Every object that the server has, newest version last.
#[derive(Debug, Default)]
pub struct Shelf {
    objects: BTreeMap<ObjectKey, Vec<Stored>>,
    clock: u64,
}

/// An upload under way on one connection.
#[derive(Debug)]
pub(super) struct Upload {
    key: ObjectKey,
    condition: Condition,
    bytes: Vec<u8>,
}

impl Shelf {
    /// Puts `bytes` under `key` as a new version, described honestly.
    pub fn put(&mut self, key: &ObjectKey, bytes: Vec<u8>) -> Version {
        self.clock += 1;
        self.place(key, Stored::new(self.clock, bytes));
        Version(self.clock)
    }

    /// Puts `stored` under `key` as it is.
    pub fn place(&mut self, key: &ObjectKey, stored: Stored) {
        self.objects.entry(key.clone()).or_default().push(stored);
    }

    /// Makes `stored` all that there is of `key`.
    pub fn replace(&mut self, key: &ObjectKey, stored: Stored) {
        self.objects.insert(key.clone(), vec![stored]);
    }

    /// There is nothing under `key`.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
    }

    /// The current version of `key`.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Stored> {
        self.objects.get(key)?.last()
    }

    /// Whether nothing was ever stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    fn find(&self, key: &ObjectKey, version: Option<Version>) -> Result<&Stored, Answer> {
        let versions = self.objects.get(key).ok_or_else(|| refuse(ErrorCode::NotFound))?;
        match version {
            None => versions.last(),
            Some(version) => versions.iter().find(|stored| stored.info.version == version),
        }
        .ok_or_else(|| refuse(ErrorCode::NotFound))
    }

    /// What an honest server answers; `slice` is the payload that came with the request.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        slice: &[u8],
        upload: &mut Option<Upload>,
    ) -> Answer {
        self.try_answer(request, slice, upload).unwrap_or_else(|refusal| refusal)
    }

    fn try_answer(
        &mut self,
        request: &Request,
        slice: &[u8],
        upload: &mut Option<Upload>,
    ) -> Result<Answer, Answer> {
        let response = match request {
            Request::Echo { .. } => return Err(refuse(ErrorCode::Malformed)),
            Request::Ping => Response::Pong,
            // Whatever mount it is: the same shelf.
            Request::Mount { .. } => Response::Mounted,
            Request::Join { .. } => Response::Joined { scopes: Scopes::ALL },
            Request::Get { key, version, sections, kind } => {
                let stored = self.find(key, *version)?;
                if stored.info.kind != *kind {
                    return Err(refuse(ErrorCode::Kind));
                }
                let is_header = |section: &&Section| matches!(section, Section::Header);
                let header = sections.iter().find(is_header);
                let header = header.map(|section| stored.section(section).to_vec());
                let raw = sections.iter().filter(|section| !is_header(section));
                let payload: Vec<u8> =
                    raw.flat_map(|section| stored.section(section)).copied().collect();
                let response =
                    Response::Object { info: stored.info, header, payload: payload.len() as u64 };
                return Ok(Answer { payload: Payload::Bytes(payload), ..response.into() });
            }
            Request::Stat { key, version } => {
                Response::Stat { info: self.find(key, *version)?.info }
            }
            Request::List { headers, .. } => Response::Page {
                entries: self
                    .objects
                    .iter()
                    .filter_map(|(key, versions)| Some((key, versions.last()?)))
                    .map(|(key, stored)| Entry {
                        key: key.clone(),
                        info: stored.info,
                        header: (*headers && stored.info.kind == Kind::Sealed)
                            .then(|| stored.section(&Section::Header).to_vec()),
                    })
                    .collect(),
                next: None,
                unreadable: 0,
            },
            Request::Versions { key, .. } => {
                self.find(key, None)?;
                let versions = self.objects.get(key).into_iter().flatten().rev().enumerate();
                Response::Versions {
                    versions: versions
                        .map(|(i, stored)| VersionInfo {
                            version: stored.info.version,
                            kind: stored.info.kind,
                            length: stored.info.length,
                            state: if i == 0 {
                                VersionState::Current
                            } else {
                                VersionState::History
                            },
                        })
                        .collect(),
                    next: None,
                    unreadable: 0,
                }
            }
            Request::Begin { key, condition, header, .. } => {
                if upload.is_some() {
                    return Err(refuse(ErrorCode::State));
                }
                let bytes = header.iter().flat_map(|header| header.bytes.clone()).collect();
                *upload = Some(Upload { key: key.clone(), condition: *condition, bytes });
                Response::Begun
            }
            // It keeps no upload that was cut off.
            Request::Resume { .. } => return Err(refuse(ErrorCode::NotFound)),
            Request::Claim { .. } => return Err(refuse(ErrorCode::State)),
            Request::Slice { digest, .. } => {
                let open = upload.as_mut().ok_or_else(|| refuse(ErrorCode::State))?;
                if Digest::of(slice) != *digest {
                    *upload = None;
                    return Err(refuse(ErrorCode::Digest));
                }
                open.bytes.extend_from_slice(slice);
                Response::SliceHeld
            }
            Request::Commit => {
                let done = upload.take().ok_or_else(|| refuse(ErrorCode::State))?;
                let current = self.get(&done.key).map(|stored| stored.info.version);
                let holds = match done.condition {
                    Condition::Any => true,
                    Condition::Absent => current.is_none(),
                    Condition::Version(version) => current == Some(version),
                };
                if !holds {
                    return Err(refuse(ErrorCode::Exists));
                }
                Response::Committed { version: self.put(&done.key, done.bytes) }
            }
            Request::Abort => {
                *upload = None;
                Response::Aborted
            }
            Request::Delete { key, .. } => {
                let version = self.find(key, None)?.info.version;
                self.objects.remove(key);
                Response::Deleted { version }
            }
            Request::Restore { key, version } => {
                let bytes = self.find(key, Some(*version))?.bytes.clone();
                Response::Committed { version: self.put(key, bytes) }
            }
        };
        Ok(response.into())
    }
}

fn refuse(code: ErrorCode) -> Answer {
    Response::Error(RemoteError::new(code, "no")).into()
}
