//! A server with one sealed blob to get ranges of, and a store in memory to put into, so that no
//! disk is waited for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use zput::cli::{Directories, KeyPath};
use zput_proto::keys::Remote;
use zput_seal::keys::{KeyFile, ModePolicy};
use zput_server::Engine;
use zput_tests::{Machine, ServerProcess, command_path, measure::random_file};

use crate::{Failure, ask::Transport, options::Options};

/// What is served under this prefix, and the blob there.
pub(crate) const FILES: &str = "files";
pub(crate) const BLOB: &str = "blob";

/// Plaintext of the blob. The longest range and all beginnings fit.
const BLOB_BYTES: u64 = 112 << 20;

/// Where files are in memory, if that is there.
const MEMORY: &str = "/dev/shm";

/// What all servers serve.
pub(crate) struct Ground {
    root: TempDir,
    home: Machine,
    zserve: PathBuf,
}

/// A server.
pub(crate) struct Served {
    process: ServerProcess,
    unix: PathBuf,
    key_file: KeyFile,
}

impl Ground {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let memory = Some(Path::new(MEMORY)).filter(|memory| memory.is_dir());
        let root = tempfile::tempdir_in(memory.unwrap_or(&std::env::temp_dir()))?;
        let zserve = options.zserve.clone().unwrap_or_else(|| command_path("zserve"));
        let ground = Self { root, home: Machine::new(), zserve };
        // The first put of all makes a key file, and a store in the home.
        ground.home.write("first", b"");
        let _made = ground.home.run("zput", ["first"]).ok();
        let (plain, sealed) = (ground.path("plain"), ground.path(FILES).join(BLOB));
        fs::create_dir(ground.path(FILES))?;
        random_file(&plain, BLOB_BYTES)?;
        let arguments = [plain.as_os_str(), "-o".as_ref(), sealed.as_os_str()];
        let _sealed = ground.home.run("zblob seal", arguments).ok();
        fs::remove_file(plain)?;
        Ok(ground)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Of a client that has seen nothing yet; in memory as well.
    pub(crate) fn directories(&self) -> Result<Directories, Failure> {
        let own = tempfile::tempdir_in(self.root.path())?.keep();
        let below = |name: &str| own.join(name);
        Ok(Directories { config: below("config"), data: below("data"), state: below("state") })
    }

    /// A server with this engine, whose connections have this congestion control.
    pub(crate) fn serve(&self, engine: Engine, congestion: &str) -> Result<Served, Failure> {
        let own = tempfile::tempdir_in(self.root.path())?.keep();
        let (config, unix) = (own.join("zserve.toml"), own.join("socket"));
        let files = self.path(FILES);
        let mount = format!(
            "[[mount]]\nprefix = {FILES:?}\ndir = {files:?}\npublic = true\nanonymous = \"get\"\n"
        );
        fs::write(&config, mount)?;
        let (config, listen) = (config.display().to_string(), format!("unix:{}", unix.display()));
        let process = ServerProcess::start_by(
            Command::new(&self.zserve),
            &own.join("store"),
            &[
                ["--config", &config],
                ["--listen", &listen],
                ["--http", "127.0.0.1:0"],
                ["--engine", engine.name()],
                ["--congestion", congestion],
                ["--anonymous", "put,get"],
                ["--log", "error"],
            ]
            .concat(),
        );
        let home = Machine::new();
        process.admit(&home);
        let key_file = KeyPath::new(home.key_file()).open()?;
        Ok(Served { process, unix, key_file })
    }
}

impl Served {
    pub(crate) fn zput(&self) -> &str {
        self.process.address()
    }

    pub(crate) fn http(&self) -> &str {
        self.process.http()
    }

    pub(crate) fn unix(&self) -> &Path {
        &self.unix
    }

    /// A device's that is known here.
    pub(crate) fn key_file(&self) -> &KeyFile {
        &self.key_file
    }

    /// What the client library is to speak with at this transport.
    pub(crate) fn key_file_for(&self, transport: Transport) -> KeyFile {
        let mut key_file = self.key_file.clone();
        if transport != Transport::Tls {
            key_file.mode = ModePolicy::Plaintext;
        }
        if transport == Transport::Unix {
            key_file.remote = Some(Remote::Unix(self.unix.display().to_string()));
        }
        key_file
    }
}
