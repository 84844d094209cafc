//! A server in this process, and machines whose clocks the test sets.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tempfile::TempDir;
use zput::{
    Error, ErrorKind, PutReceipt, Silent,
    cli::{Directories, FileSource, GetOptions, PutOptions, Session, Sink},
    error::SinkError,
};
use zput_proto::{message::Scopes, name::BlobName};
use zput_seal::keys::{KeyFile, ModePolicy};
use zput_server::{
    Server, ServerHandle, ServerOptions,
    mounts::{Mounts, Policy},
    store::{Clock, Store},
};

/// A server's store, and the key file that all machines use.
pub(crate) struct Setting {
    pub(crate) server: ServerHandle,
    pub(crate) key_file: KeyFile,
    time: Arc<AtomicU64>,
    dir: TempDir,
}

pub(crate) struct Machine {
    pub(crate) client: Session,
    /// The name of the blob that is put and got.
    pub(crate) name: BlobName,
    time: Arc<AtomicU64>,
    file: PathBuf,
}

fn clock(time: &Arc<AtomicU64>) -> Clock {
    let time = Arc::clone(time);
    Clock::new(move || time.load(Ordering::Relaxed))
}

pub(crate) fn name() -> BlobName {
    BlobName::parse("doc").unwrap()
}

impl Setting {
    /// A setting whose server's clock says `now`.
    pub(crate) fn at(now: u64) -> Self {
        // A new store has a thousand files, so it is copied.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let time = Arc::new(AtomicU64::new(now));
        let store = Store::open(&dir.path().join("store"), clock(&time)).unwrap();
        let policy = Policy { anonymous: Scopes::ALL, ..Policy::PRIVATE };
        let mounts = Mounts::of_store(store, policy);
        let options = ServerOptions::new(mounts, vec!["127.0.0.1:0".parse().unwrap()]);
        let server = Server::bind(options).unwrap().spawn().unwrap();
        let mut key_file = KeyFile::generate(&mut rand::rng());
        key_file.mode = ModePolicy::Plaintext;
        key_file.remote = Some(format!("zput://{}", server.addresses()[0]).parse().unwrap());
        Self { server, key_file, time, dir }
    }

    pub(crate) fn set_time(&self, now: u64) {
        self.time.store(now, Ordering::Relaxed);
    }

    /// A machine of this name whose clock says `now`.
    pub(crate) fn machine(&self, called: &str, now: u64) -> Machine {
        self.machine_with(called, now, self.key_file.clone())
    }

    pub(crate) fn machine_with(&self, called: &str, now: u64, key_file: KeyFile) -> Machine {
        let home = self.dir.path().join(called);
        fs::create_dir_all(&home).unwrap();
        let directories =
            Directories { config: home.join("c"), data: home.join("d"), state: home.join("s") };
        let time = Arc::new(AtomicU64::new(now));
        let client = Session::new(key_file, &directories).unwrap().with_clock(clock(&time));
        Machine { client, name: name(), time, file: home.join("file") }
    }
}

/// Collects what it gets.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Vec<u8>);

impl Sink for Kept {
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        self.0.extend_from_slice(plaintext);
        Ok(())
    }
}

impl Machine {
    pub(crate) fn set_time(&self, now: u64) {
        self.time.store(now, Ordering::Relaxed);
    }

    pub(crate) fn try_put(&mut self, bytes: &[u8]) -> Result<PutReceipt, Error> {
        fs::write(&self.file, bytes).unwrap();
        let source = FileSource::open(&self.file).unwrap();
        self.client.put(&self.name, source, &PutOptions::default(), &Silent)
    }

    /// Puts the blob; returns its generation.
    #[track_caller]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        self.try_put(bytes).unwrap().generation.unwrap()
    }

    pub(crate) fn try_get(&mut self) -> Result<Vec<u8>, Error> {
        let mut kept = Kept::default();
        self.client.get(&self.name, &GetOptions::default(), &mut kept, &Silent)?;
        Ok(kept.0)
    }

    #[track_caller]
    pub(crate) fn gets(&mut self, bytes: &[u8]) {
        assert_eq!(self.try_get().unwrap(), bytes);
    }
}

pub(crate) fn exit<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}
