//! Giving up all files that the server does not need (Landlock).
//!
//! Whatever a peer might make this program do, it then reaches no file outside of what is served, opens
//! no connection, listens nowhere else and signals nobody. What is open already stays so. The kernel
//! enforces it on the thread that asks and on those that it starts; there is no way back.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, PathFdError, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};
use thiserror::Error;

use crate::{
    address::ListenAddress,
    config::{Config, MountSource},
};

/// The interface whose rights are asked for; kernels that have fewer enforce those.
const INTERFACE: ABI = ABI::V6;

/// What stays within reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Directories beneath which files are made, written, renamed and removed.
    pub write: Vec<PathBuf>,
    /// Directories beneath which files are read; files that are.
    pub read: Vec<PathBuf>,
    /// Directories from which files, this server's sockets, are removed.
    pub remove: Vec<PathBuf>,
}

/// How much of it the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// All of it.
    Fully,
    /// What it knows of it.
    Partially,
    /// Nothing: it has no Landlock, or one that could not rename between directories (before 5.19).
    NotAvailable,
}

/// Why there is no sandbox although there could be.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// Something that should stay within reach is not there.
    #[error("cannot keep {path} within reach of the sandbox: {source}", path = .path.display())]
    Path {
        /// What.
        path: PathBuf,
        /// Why.
        source: PathFdError,
    },
    /// The kernel refused.
    #[error("cannot enter the sandbox ({0}): see whether it runs without (sandbox = false)")]
    Kernel(#[from] RulesetError),
}

impl Reach {
    /// What a server of this configuration needs once its sockets are there: its mounts, and its
    /// configuration, to read it again. A file that may be replaced is looked for in its directory.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        // The acceptor opens it when descriptors run out.
        let mut reach = Self { read: vec!["/dev/null".into()], ..Self::default() };
        for mount in &config.mounts {
            match &mount.source {
                MountSource::Store(path) => reach.write.push(path.clone()),
                MountSource::Dir { path, .. } => reach.read.push(path.clone()),
                MountSource::Tar { path, .. } => reach.read.push(directory_of(path)),
            }
        }
        reach.read.extend(config.file.as_deref().map(directory_of));
        for address in config.listen.iter().chain(&config.http).chain(&config.admin) {
            if let ListenAddress::Unix(path) = address {
                reach.remove.push(directory_of(path));
            }
        }
        reach
    }

    /// Gives up everything else, for this thread and those that it starts from now on.
    ///
    /// # Errors
    /// When something in reach is not there, or the kernel refuses what it should know.
    pub fn enforce(&self) -> Result<Enforced, SandboxError> {
        // Without this right all renames between directories are refused, and no put would succeed.
        let refer = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer);
        let Ok(rules) = refer else { return Ok(Enforced::NotAvailable) };
        let mut rules = rules
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(INTERFACE))?
            .handle_access(AccessNet::from_all(INTERFACE))?
            .scope(Scope::Signal)?
            .create()?;
        for (paths, rights) in [
            (&self.write, writing()),
            (&self.read, reading()),
            (&self.remove, AccessFs::RemoveFile.into()),
        ] {
            for path in paths {
                let cannot = |source| SandboxError::Path { path: path.clone(), source };
                let rights =
                    if path.is_dir() { rights } else { rights & AccessFs::from_file(INTERFACE) };
                let rule = PathBeneath::new(PathFd::new(path).map_err(cannot)?, rights);
                rules = rules.add_rule(rule)?;
            }
        }
        Ok(match rules.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Enforced::Fully,
            RulesetStatus::PartiallyEnforced => Enforced::Partially,
            RulesetStatus::NotEnforced => Enforced::NotAvailable,
        })
    }
}

fn reading() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

/// What a store does: no programs, no devices, no sockets, no symbolic links.
fn writing() -> BitFlags<AccessFs> {
    reading()
        | make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
        })
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs, io,
        net::{TcpListener, TcpStream},
        thread,
    };

    use zput_skip as skip;

    use super::*;
    use crate::config;

    #[test]
    fn what_is_served_stays_within_reach() {
        let text = "listen = [\"h:1\", \"unix:/run/z/s\"]\nadmin = \"unix:/run/a\"\n\
                    [[mount]]\nstore = \"/srv/s\"\n\
                    [[mount]]\nprefix = \"d\"\ndir = \"/srv/d\"\n\
                    [[mount]]\nprefix = \"t\"\ntar = \"/srv/t/x.tar\"";
        let config = config::parse(Path::new("/etc/z/z.toml"), text).unwrap();
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let expected = Reach {
            write: paths(&["/srv/s"]),
            read: paths(&["/dev/null", "/srv/d", "/srv/t", "/etc/z"]),
            remove: paths(&["/run/z", "/run"]),
        };
        assert_eq!(Reach::of(&config), expected);
        let beside = config::parse(Path::new("z.toml"), "").unwrap();
        assert_eq!(Reach::of(&beside).read, paths(&["/dev/null", "."]));
    }

    /// On a thread of its own, which takes the sandbox with it.
    #[test]
    fn nothing_else_is_within_reach() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["store", "store/a", "tree", "outside", "sockets"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["store/old", "tree/file", "outside/file", "sockets/s"] {
            fs::write(at(name), "x").unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let reach =
            Reach { write: vec![at("store")], read: vec![at("tree")], remove: vec![at("sockets")] };
        let tried = || {
            let enforced = reach.enforce().unwrap();
            if enforced == Enforced::NotAvailable {
                return skip::because("this kernel has no Landlock");
            }
            let denied = |result: io::Result<()>, what: &str| {
                let kind = result.expect_err(what).kind();
                assert_eq!(kind, io::ErrorKind::PermissionDenied, "{what}");
            };
            fs::write(at("store/new"), "x").unwrap();
            fs::rename(at("store/new"), at("store/a/new")).unwrap();
            fs::hard_link(at("store/old"), at("store/a/old")).unwrap();
            fs::create_dir(at("store/b")).unwrap();
            fs::remove_dir(at("store/b")).unwrap();
            fs::read(at("tree/file")).unwrap();
            fs::read_dir(at("tree")).unwrap();
            fs::remove_file(at("sockets/s")).unwrap();
            denied(fs::read(at("outside/file")).map(drop), "reading outside");
            denied(fs::read("/etc/passwd").map(drop), "reading the system");
            denied(fs::write(at("outside/new"), "x"), "writing outside");
            denied(fs::write(at("tree/new"), "x"), "writing what is only read");
            denied(fs::remove_file(at("tree/file")), "removing what is only read");
            denied(fs::write(at("sockets/new"), "x"), "writing beside a socket");
            let link = std::os::unix::fs::symlink("/etc/passwd", at("store/link"));
            denied(link, "a symbolic link");
            if enforced == Enforced::Fully {
                denied(TcpStream::connect(address).map(drop), "connecting");
                denied(TcpListener::bind("127.0.0.1:0").map(drop), "listening");
            }
            assert!(listener.local_addr().is_ok(), "what is open stays open");
        };
        thread::scope(|scope| scope.spawn(tried).join().unwrap());
    }
}
