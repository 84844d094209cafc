//! A `zserve` process with a store of its own, for hostile clients.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use zput_proto::{
    envelope,
    keys::{DeviceTlsKey, Invite},
    message::{Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Section},
    name::ObjectKey,
    session::{ClientConfig, ClientTls},
};
use zput_seal::{
    age::Identity,
    keys::{DeviceSeed, KeyFile},
};
use zput_tests::{RawClient, ServerProcess, hostile::Forgery};

/// The server; everything it may touch is below `root`.
pub(crate) struct Guarded {
    pub(crate) server: ServerProcess,
    root: TempDir,
}

impl Guarded {
    pub(crate) fn new(args: &[&str]) -> Self {
        let root = quick_directory();
        // What is denied here is denied on purpose.
        let args = [&["--log", "error"][..], args].concat();
        let server = ServerProcess::start(&root.path().join("store"), &args);
        Self { server, root }
    }

    pub(crate) fn invite(&self, args: &[&str]) -> Invite {
        self.server.invite(args).parse().unwrap()
    }

    /// A connection of the device with this key.
    pub(crate) fn connect(&self, device: &DeviceTlsKey) -> RawClient {
        let key = self.invite(&[]).server_key;
        let tls = ClientTls::new(device, &key).unwrap();
        RawClient::connect(self.server.address(), &ClientConfig::Tls(tls)).unwrap()
    }

    /// A connection without TLS.
    pub(crate) fn plain(&self) -> RawClient {
        RawClient::connect(self.server.address(), &ClientConfig::Plaintext).unwrap()
    }

    /// A device that the server knows and that may do this.
    pub(crate) fn member(&self, scopes: &str) -> DeviceTlsKey {
        let device = device();
        let joined = self.connect(&device).ask(&join(&self.invite(&["--scopes", scopes]))).unwrap();
        assert!(matches!(joined, Response::Joined { .. }), "{joined:?}");
        device
    }

    /// Every file and directory below the root, with what is in it.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut tree = BTreeMap::new();
        walk(self.root.path(), &mut tree);
        tree
    }

    /// Files of uploads under way.
    pub(crate) fn staged(&self) -> usize {
        fs::read_dir(self.server.store().join("staging")).unwrap().count()
    }

    /// Whether nothing is staged any more, soon.
    pub(crate) fn forgets_uploads(&self) -> bool {
        soon(|| self.staged() == 0)
    }

    /// Most memory that the server ever had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The server still serves clients that keep to the protocol.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        let device = self.member("put,get,list,delete");
        let mut client = self.connect(&device);
        let blob = blob(b"is it well?", b"it is");
        assert!(matches!(put(&mut client, b"is it well?", &blob), Response::Committed { .. }));
        assert!(whole(&mut client, &get(b"is it well?")) == Ok(blob));
    }
}

fn walk(directory: &Path, tree: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        assert!(kind.is_dir() || kind.is_file(), "{}", path.display());
        if kind.is_dir() {
            walk(&path, tree);
            tree.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            tree.insert(path, bytes);
        }
    }
}

/// A directory in memory where there is one: what is played here is not a power cut.
pub(crate) fn quick_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Whether `holds` within the time that a busy machine may need.
pub(crate) fn soon(holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

pub(crate) fn device() -> DeviceTlsKey {
    DeviceSeed::generate(&mut rand::rng()).tls_key()
}

pub(crate) fn key(bytes: &[u8]) -> ObjectKey {
    ObjectKey::new(bytes).unwrap()
}

pub(crate) fn join(invite: &Invite) -> Request {
    Request::Join { secret: *invite.secret.as_bytes(), label: "somebody".to_owned() }
}

/// With the header of some blob of this key.
pub(crate) fn begin(of: &[u8]) -> Request {
    begin_blob(of, &blob(of, b"")).0
}

/// With the header that `blob` says it has, and the bytes behind it; one that has none is all
/// header.
pub(crate) fn begin_blob<'b>(of: &[u8], blob: &'b [u8]) -> (Request, &'b [u8]) {
    let header = envelope::header_length(blob).map_or(blob.len(), |length| length as usize);
    let (header, rest) = blob.split_at_checked(header).unwrap_or((blob, b""));
    let header = Some(HeaderSlice::of(header.to_vec()));
    let (kind, condition) = (Kind::Sealed, Condition::Any);
    (Request::Begin { key: key(of), kind, condition, header }, rest)
}

/// All of the current version.
pub(crate) fn get(of: &[u8]) -> Request {
    let sections = vec![Section::Header, Section::Body, Section::Footer];
    Request::Get { key: key(of), version: None, sections, kind: Kind::Sealed }
}

/// The blob that `get` asks for, or the server's answer that it has none.
pub(crate) fn whole(client: &mut RawClient, get: &Request) -> Result<Vec<u8>, Response> {
    match client.ask(get).unwrap() {
        Response::Object { header: Some(header), .. } => {
            Ok([header, client.payload().unwrap()].concat())
        }
        answer => Err(answer),
    }
}

/// A blob without a vault, for this key, of a later generation than those before.
pub(crate) fn blob(of: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let identity = Identity::generate_x25519(&mut rand::rng());
    let author = KeyFile::from_identity(identity, &mut rand::rng());
    let forgery = Forgery::honest(&author, &key(of), "name", plaintext);
    let generation = forgery.generation + MADE.fetch_add(1, Ordering::Relaxed);
    Forgery { generation, ..forgery }.seal()
}

/// How many blobs were made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// What stands behind the header of a [`blob`], in the slices that a client sends: each part of 64
/// KiB, sealed to 65,672 bytes, and the footer.
pub(crate) fn slices(rest: &[u8]) -> Vec<&[u8]> {
    let footer = envelope::footer_length(rest).map_or(0, |length| length as usize);
    let (parts, footer) = rest.split_at(rest.len().saturating_sub(footer));
    parts.chunks(65_672).chain([footer]).filter(|slice| !slice.is_empty()).collect()
}

/// Puts `blob`, however the server takes it; gives the commit's answer, or the
/// one that says no to the header.
pub(crate) fn put(client: &mut RawClient, of: &[u8], blob: &[u8]) -> Response {
    let (begin, rest) = begin_blob(of, blob);
    match client.ask(&begin).unwrap() {
        Response::Begun => {}
        refusal => return refusal,
    }
    let slices = slices(rest);
    for slice in &slices {
        client.slice(slice).unwrap();
    }
    client.send(&Request::Commit).unwrap();
    for _ in &slices {
        assert_eq!(client.receive().unwrap(), Response::SliceHeld);
    }
    client.receive().unwrap()
}

/// The code of an answer that says no.
pub(crate) fn code(answer: &Response) -> Option<ErrorCode> {
    if let Response::Error(error) = answer { error.known() } else { None }
}
