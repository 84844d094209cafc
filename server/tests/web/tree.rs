//! Servers of trees by HTTP.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use zput_proto::{
    digest::Digest,
    message::{Condition, Kind, Version},
    name::ObjectKey,
};
use zput_server::{
    Server, ServerHandle, ServerOptions,
    mounts::{DirMount, MountPoint, Mounts, Policy, Source},
    store::{Clock, Store},
};
use zput_testkit::WebClient;

/// Everybody may get everything.
pub(crate) const PUBLIC: Policy = Policy { public: true, allow_unsealed: true, ..Policy::PRIVATE };

/// A server with a tree at the root, and that tree.
pub(crate) struct ServedTree {
    pub(crate) server: ServerHandle,
    pub(crate) dir: TempDir,
}

/// Serves a tree by HTTP.
pub(crate) fn serve(change: impl FnOnce(&mut ServerOptions)) -> ServedTree {
    serve_as(PUBLIC, change)
}

pub(crate) fn serve_as(policy: Policy, change: impl FnOnce(&mut ServerOptions)) -> ServedTree {
    let dir = tempfile::tempdir().unwrap();
    let server = start(Mounts::new([tree("", dir.path(), policy)]).unwrap(), change);
    ServedTree { server, dir }
}

pub(crate) fn start(mounts: Mounts, change: impl FnOnce(&mut ServerOptions)) -> ServerHandle {
    let mut options = ServerOptions::new(mounts, Vec::new());
    options.http = vec!["127.0.0.1:0".parse().unwrap()];
    options.workers = 2;
    options.limits.shutdown_timeout = Duration::from_secs(5);
    change(&mut options);
    Server::bind(options).unwrap().spawn().unwrap()
}

pub(crate) fn tree(name: &str, dir: &Path, policy: Policy) -> MountPoint {
    MountPoint::new(name, Source::Dir(DirMount::open(dir, Clock::system()).unwrap()), policy)
}

impl ServedTree {
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let new = self.dir.path().join(".new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    pub(crate) fn client(&self) -> WebClient {
        client(&self.server)
    }
}

/// A client of the server's first listener.
pub(crate) fn client(server: &ServerHandle) -> WebClient {
    WebClient::connect(server.addresses()[0].tcp().unwrap()).unwrap()
}

/// Puts a plain object.
pub(crate) fn put(store: &Store, key: &str, bytes: &[u8]) -> Version {
    let key = ObjectKey::new(key).unwrap();
    let mut upload = store.begin(&key, Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(bytes.len().try_into().unwrap(), Digest::of(bytes)).unwrap();
    upload.write(bytes).unwrap();
    upload.end_slice().unwrap();
    upload.commit().unwrap()
}

/// Bytes that differ at every place.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}
