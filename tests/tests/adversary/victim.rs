//! A machine that wants a blob, and a server that has other plans.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;
use zput::{
    GetReceipt, Silent,
    cli::{Directories, GetOptions, Session},
};
use zput_cli::ExitCode;
use zput_proto::{
    keys::{Remote, ServerPublicKey},
    name::{BlobName, ObjectKey},
};
use zput_seal::{
    age::Identity,
    keys::{KeyFile, ModePolicy},
};
use zput_tests::{
    Machine, Ran,
    hostile::{Forgery, HostileServer, Stored},
};

use crate::guarded::quick_directory;

/// What the blob's name is everywhere here.
pub(crate) const NAME: &str = "plans/secret.bin";
/// What the file is called that `zget` makes of it.
pub(crate) const FILE: &str = "secret.bin";

/// The machine, its key file, and the server that the key file leads to.
pub(crate) struct Victim {
    pub(crate) server: HostileServer,
    pub(crate) home: Machine,
    pub(crate) member: KeyFile,
    pub(crate) name: BlobName,
    pub(crate) key: ObjectKey,
    state: TempDir,
}

impl Victim {
    /// A member of a vault with a small identity; `mode` is how it speaks to its server.
    pub(crate) fn new(mode: ModePolicy) -> Self {
        let server = HostileServer::new();
        let mut member = member();
        lead(&mut member, mode, server.remote(), server.key());
        let name = BlobName::parse(NAME).unwrap();
        let key = member.object_key(&name);
        let victim =
            Self { server, home: Machine::new(), member, name, key, state: quick_directory() };
        victim.install(&victim.member);
        victim
    }

    /// Makes `key_file` the one that the commands use.
    pub(crate) fn install(&self, key_file: &KeyFile) {
        write_key_file(&self.home.path().join("victim.zkey"), key_file);
    }

    /// What the member itself would make of `plaintext`.
    pub(crate) fn honest(&self, plaintext: &[u8]) -> Forgery {
        Forgery::honest(&self.member, &self.key, NAME, plaintext)
    }

    /// The server has `blob` now and nothing else under this key, and this machine has never seen
    /// another.
    pub(crate) fn serve(&self, blob: Vec<u8>) {
        self.serve_stored(Stored::new(1, blob));
    }

    /// As [`Victim::serve`], with a description of the server's own.
    pub(crate) fn serve_stored(&self, stored: Stored) {
        self.forget();
        self.server.shelf().replace(&self.key, stored);
    }

    /// The server has `blob` now, and nothing else under this key.
    pub(crate) fn serve_next(&self, blob: Vec<u8>) {
        self.server.shelf().replace(&self.key, Stored::new(1, blob));
    }

    /// Loses the record of what was seen: a refusal is then for what a blob is, and not for what
    /// was there before it.
    fn forget(&self) {
        for state in [self.directories().state, self.home.path().join(".local/state/zput")] {
            match fs::remove_dir_all(state) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{e}"),
                _ => {}
            }
        }
    }

    /// The library gets the blob: what it says, and what reached the sink.
    pub(crate) fn get(&self, options: &GetOptions) -> (Result<GetReceipt, u8>, Vec<u8>) {
        get(&self.member, &self.directories(), &self.name, options)
    }

    /// As [`Victim::get`], by its exit code alone, with 0 for success.
    pub(crate) fn exit(&self) -> (u8, Vec<u8>) {
        let (got, sink) = self.get(&GetOptions::default());
        (got.err().unwrap_or(0), sink)
    }

    pub(crate) fn directories(&self) -> Directories {
        let base = self.state.path();
        Directories { config: base.join("c"), data: base.join("d"), state: base.join("s") }
    }

    /// Runs a command of this machine with its key file.
    pub(crate) fn run(&self, command: &str, args: &[&str]) -> Ran {
        let key = self.home.path().join("victim.zkey");
        let args: Vec<_> =
            ["--key", key.to_str().unwrap()].into_iter().chain(args.iter().copied()).collect();
        self.home.run(command, args)
    }

    /// What is in the directory where the commands run.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let names = fs::read_dir(self.home.file("")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// `zget` fails with `code`, into a file and onto stdout: no file, nothing left of one under
    /// way, and of what it wrote to stdout every byte is genuine. Says what it told the user.
    #[track_caller]
    pub(crate) fn refuses(&self, code: i32, genuine: &[u8]) -> String {
        let before = self.files();
        let ran = self.run("zget", &[NAME]).ended(code);
        assert_eq!(self.files(), before, "files were left behind");
        assert!(ran.stdout.is_empty(), "stdout: {}", ran.text());
        assert!(is_for_terminals(&ran.stderr), "{:?}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        let said = ran.stderr;
        let ran = self.run("zget", &["-o", "-", NAME]).ended(code);
        assert!(genuine.starts_with(&ran.stdout), "{} forged bytes", ran.stdout.len());
        assert_eq!(self.files(), before, "files were left behind");
        said
    }

    /// `zget` succeeds and gives `plaintext`: what was refused before was refused for its reason.
    #[track_caller]
    pub(crate) fn accepts(&self, plaintext: &[u8]) {
        let ran = self.run("zget", &["-o", "-", NAME]).ok();
        assert!(ran.stdout == plaintext);
    }
}

/// A member of a new vault, with an identity that is quick to open with.
pub(crate) fn member() -> KeyFile {
    KeyFile::from_identity(Identity::generate_x25519(&mut rand::rng()), &mut rand::rng())
}

/// Leads `key_file` to this server.
pub(crate) fn lead(
    key_file: &mut KeyFile,
    mode: ModePolicy,
    remote: Remote,
    server_key: ServerPublicKey,
) {
    key_file.mode = mode;
    key_file.remote = Some(remote);
    key_file.server_key = Some(server_key);
}

pub(crate) fn write_key_file(path: &Path, key_file: &KeyFile) {
    fs::write(path, key_file.to_toml().unwrap().as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The library gets `name` with a new connection.
pub(crate) fn get(
    key_file: &KeyFile,
    directories: &Directories,
    name: &BlobName,
    options: &GetOptions,
) -> (Result<GetReceipt, u8>, Vec<u8>) {
    let mut client = Session::new(key_file.clone(), directories).unwrap();
    let mut sink = Vec::new();
    let got = client.get(name, options, &mut sink, &Silent);
    (got.map_err(|error| ExitCode::from(error.kind()) as u8), sink)
}

/// Whether a terminal would only show this.
pub(crate) fn is_for_terminals(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}'))
}
