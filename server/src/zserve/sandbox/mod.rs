//! The sandbox: gives up access to all files that the server does not need (Landlock), and system
//! calls that it never makes (`seccomp`).
//!
//! Whatever a peer might make this program do, it then reaches no file outside of what is served,
//! makes no socket of any kind, sends nothing except over connections, starts no program and no
//! process, and signals no other process. Open descriptors are not affected. The kernel enforces
//! the sandbox on the thread that enters it and on the threads that it starts; it cannot be left.

mod seccomp;

use std::{
    io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, PathFdError, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};
use thiserror::Error;

use crate::{
    metrics::program,
    runtime::address::ListenAddress,
    zserve::config::{Config, MountSource},
};

/// The Landlock version whose rights are requested; older kernels enforce those that they know.
const INTERFACE: ABI = ABI::V6;

/// The paths that stay accessible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist {
    /// Directories beneath which files are made, written, renamed and removed.
    pub write: Vec<PathBuf>,
    /// Directories beneath which files are read, and single files that are read.
    pub read: Vec<PathBuf>,
    /// Directories from which files are removed: this server's sockets.
    pub remove: Vec<PathBuf>,
}

/// How much of the file sandbox the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// All rights that this server requests.
    Fully,
    /// Those of the rights that an older kernel knows.
    Partially,
    /// None: the kernel has no Landlock, or one that cannot allow renames between directories
    /// (before 5.19).
    NotAvailable,
}

/// Why the sandbox was not entered.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A path that should stay accessible does not exist.
    #[error("cannot allow {path} in the sandbox: {source}", path = .path.display())]
    Path {
        /// The path, from the configuration.
        path: PathBuf,
        /// The error of opening it.
        source: PathFdError,
    },
    /// The kernel refused the file rules.
    #[error("cannot enter the sandbox ({0}): see whether it runs without (sandbox = false)")]
    Kernel(#[from] RulesetError),
    /// The kernel refused the filter of system calls.
    #[error(
        "cannot install the seccomp filter ({0}): see whether it runs without (sandbox = false)"
    )]
    Calls(#[source] io::Error),
}

/// Denies the system calls that a server never makes, for this thread and the threads that it
/// starts from now on. Sockets must have been made before. Returns `false` where the kernel has no
/// such filter.
///
/// # Errors
/// When the kernel has filters and refuses this one.
pub fn deny_syscalls() -> Result<bool, SandboxError> {
    let done = seccomp::apply().map_err(SandboxError::Calls)?;
    program::set_syscalls_filtered(done);
    Ok(done)
}

impl Allowlist {
    /// The paths that a server of this configuration needs once its sockets are open: its mounts,
    /// and its configuration, for reloads. A file that may be replaced is looked up in its
    /// directory.
    #[must_use]
    pub fn for_config(config: &Config) -> Self {
        // The acceptor opens it when descriptors run out.
        let mut allowlist = Self { read: vec!["/dev/null".into()], ..Self::default() };
        for mount in &config.mounts {
            match &mount.source {
                MountSource::Store(path) => allowlist.write.push(path.clone()),
                MountSource::Dir { path, .. } => {
                    allowlist.read.push(path.clone());
                    allowlist.read.extend(replacement_dirs(path));
                }
                MountSource::Tar { path, .. } => allowlist.read.extend(file_locations(path)),
            }
        }
        allowlist.read.extend(config.file.iter().flat_map(|path| file_locations(path)));
        for address in config.listen.iter().chain(&config.http).chain(&config.admin) {
            if let ListenAddress::Unix(path) = address {
                allowlist.remove.push(directory_of(path));
            }
        }
        // A socket in the root directory cannot be removed then; the next start finds and replaces
        // it.
        allowlist.remove.retain(|directory| !is_filesystem_root(directory));
        allowlist
    }

    /// Gives up access to everything else, for this thread and the threads that it starts from now
    /// on.
    ///
    /// # Errors
    /// When a path does not exist, or the kernel refuses rules that it should know.
    pub fn enforce(&self) -> Result<Enforced, SandboxError> {
        // Without this right the kernel refuses all renames between directories, and every put
        // would fail.
        let refer = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer);
        let Ok(rules) = refer else { return Ok(Enforced::NotAvailable) };
        let mut rules = rules
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(INTERFACE))?
            .handle_access(AccessNet::from_all(INTERFACE))?
            .scope(Scope::from_all(INTERFACE))?
            .create()?;
        for (paths, rights) in [
            (&self.write, write_rights()),
            (&self.read, read_rights()),
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
        let enforced = match rules.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Enforced::Fully,
            RulesetStatus::PartiallyEnforced => Enforced::Partially,
            RulesetStatus::NotEnforced => Enforced::NotAvailable,
        };
        program::set_files_restricted(enforced == Enforced::Fully);
        Ok(enforced)
    }
}

fn read_rights() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

/// The rights that a store needs: no programs, devices, sockets or symbolic links.
fn write_rights() -> BitFlags<AccessFs> {
    read_rights()
        | make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
        })
}

/// The directories in which another directory may take the place of the directory `path`: by a
/// rename, or because a link in the path was changed. Except the root directory.
fn replacement_dirs(path: &Path) -> Vec<PathBuf> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut replacement_dirs = vec![directory_of(path), directory_of(&target)];
    replacement_dirs.dedup();
    replacement_dirs.retain(|directory| !is_filesystem_root(directory));
    replacement_dirs
}

/// The directories in which another file may take the place of the file `path`: its own, and that
/// of its target where it is a link. Beneath the root directory is everything, so of a file in
/// there only the file itself.
fn file_locations(path: &Path) -> Vec<PathBuf> {
    let location = |path: &Path| {
        let directory = directory_of(path);
        if is_filesystem_root(&directory) { path.to_owned() } else { directory }
    };
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut locations = vec![location(path), location(&target)];
    locations.dedup();
    locations
}

fn is_filesystem_root(directory: &Path) -> bool {
    directory.canonicalize().is_ok_and(|directory| directory == Path::new("/"))
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
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            linux::net::SocketAddrExt as _,
            unix::{
                ffi::OsStrExt as _,
                net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
            },
        },
        process::Command,
        thread,
    };

    use rustix::{
        process::{Pid, PidfdFlags, Resource, getrlimit, prlimit, setrlimit, test_kill_process},
        thread::set_no_new_privs,
    };
    use zput_skip as skip;

    use super::*;
    use crate::zserve::config;

    /// The allowlist has the stores, trees, archives, sockets and configuration of a config.
    #[test]
    fn allowlist_contains_served_paths() {
        let text = "listen = [\"h:1\", \"unix:/run/z/s\"]\nadmin = \"unix:/run/a\"\n\
                    [[mount]]\nstore = \"/srv/s\"\n\
                    [[mount]]\nprefix = \"d\"\ndir = \"/srv/d\"\n\
                    [[mount]]\nprefix = \"t\"\ntar = \"/srv/t/x.tar\"";
        let config = config::parse(Path::new("/etc/z/z.toml"), text).unwrap();
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let expected = Allowlist {
            write: paths(&["/srv/s"]),
            read: paths(&["/dev/null", "/srv/d", "/srv", "/srv/t", "/etc/z"]),
            remove: paths(&["/run/z", "/run"]),
        };
        assert_eq!(Allowlist::for_config(&config), expected);
        // Everything is beneath the root directory.
        let text = "listen = \"unix:/s\"\n[[mount]]\nprefix = \"d\"\ndir = \"/no-such-d\"\n\
                    [[mount]]\nprefix = \"t\"\ntar = \"/x.tar\"";
        let config = config::parse(Path::new("/z.toml"), text).unwrap();
        let read = paths(&["/dev/null", "/no-such-d", "/x.tar", "/z.toml"]);
        assert_eq!(
            Allowlist::for_config(&config),
            Allowlist { write: vec![], read, remove: vec![] }
        );
        let beside = config::parse(Path::new("z.toml"), "").unwrap();
        assert_eq!(Allowlist::for_config(&beside).read, paths(&["/dev/null", "."]));
    }

    /// A file that is a link is read at its target.
    #[test]
    fn allowlist_contains_targets_of_symlinks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        for name in ["etc", "real", "srv", "data"] {
            fs::create_dir(at(name)).unwrap();
        }
        let link = std::os::unix::fs::symlink::<&str, PathBuf>;
        fs::write(at("data/x.tar"), "").unwrap();
        fs::write(at("real/z.toml"), "").unwrap();
        link("../data/x.tar", at("srv/x.tar")).unwrap();
        link("../real/z.toml", at("etc/z.toml")).unwrap();
        let config = config::parse(&at("etc/z.toml"), "[[mount]]\ntar = \"../srv/x.tar\"").unwrap();
        let read = ["etc/../srv", "data", "etc", "real"].map(at);
        assert_eq!(Allowlist::for_config(&config).read[1..], read);
    }

    /// On a thread of its own, because a sandbox cannot be left.
    #[test]
    fn sandbox_denies_files_and_sockets_outside_allowlist() {
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
        let hidden = abstract_address(dir.path());
        let _abstract = UnixListener::bind_addr(&hidden).unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&other);
        let allowlist = Allowlist {
            write: vec![at("store")],
            read: vec![at("tree")],
            remove: vec![at("sockets")],
        };
        let tried = || {
            let enforced = allowlist.enforce().unwrap();
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
            assert!(listener.local_addr().is_ok(), "what is open stays open");
            if enforced != Enforced::Fully {
                return skip::because("this kernel's Landlock knows neither ports nor scopes");
            }
            denied(TcpStream::connect(address).map(drop), "connecting");
            denied(TcpListener::bind("127.0.0.1:0").map(drop), "listening");
            denied(UnixStream::connect_addr(&hidden).map(drop), "an abstract socket");
            denied(test_kill_process(pid).map_err(Into::into), "a signal");
        };
        let tried = thread::scope(|scope| scope.spawn(tried).join());
        other.kill().unwrap();
        other.wait().unwrap();
        tried.unwrap();
    }

    fn abstract_address(unique: &Path) -> SocketAddr {
        SocketAddr::from_abstract_name(unique.as_os_str().as_bytes()).unwrap()
    }

    /// On another thread than the one that applied the filter, and without Landlock, so that
    /// nothing else refuses.
    #[test]
    fn seccomp_denies_new_sockets_programs_and_signals() {
        let dir = tempfile::tempdir().unwrap();
        let (stream, datagram) = (dir.path().join("stream"), dir.path().join("datagram"));
        let _stream = UnixListener::bind(&stream).unwrap();
        let manager = UnixDatagram::bind(&datagram).unwrap();
        let hidden = abstract_address(dir.path());
        let _abstract = UnixListener::bind_addr(&hidden).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let loose = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = UnixDatagram::unbound().unwrap();
        connected.connect(&datagram).unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&other);
        let denied = |result: io::Result<()>, what: &str| {
            let kind = result.expect_err(what).kind();
            assert_eq!(kind, io::ErrorKind::PermissionDenied, "{what}");
        };
        let tried = || {
            denied(UdpSocket::bind("127.0.0.1:0").map(drop), "a datagram socket");
            let sent = loose.send_to(b"x", udp.local_addr().unwrap());
            denied(sent.map(drop), "a datagram by a socket that is there");
            let redirected = loose.connect(udp.local_addr().unwrap());
            denied(redirected, "connecting a socket that is there");
            denied(UnixStream::connect(&stream).map(drop), "a Unix socket");
            denied(UnixStream::connect_addr(&hidden).map(drop), "an abstract socket");
            denied(connected.send_to(b"x", &datagram).map(drop), "a Unix datagram");
            denied(TcpStream::connect(address).map(drop), "a connection");
            denied(TcpListener::bind("127.0.0.1:0").map(drop), "another listening socket");
            denied(Command::new("/bin/true").spawn().map(drop), "a program");
            denied(test_kill_process(pid).map_err(Into::into), "a signal");
            let traced = rustix::process::pidfd_open(pid, PidfdFlags::empty());
            denied(traced.map(drop).map_err(Into::into), "a handle on another process");
            let limits = getrlimit(Resource::Nofile);
            let limited = prlimit(Some(pid), Resource::Nofile, limits);
            denied(limited.map(drop).map_err(Into::into), "another process's limits");
            // Calls that a server makes still work.
            setrlimit(Resource::Nofile, limits).unwrap();
            assert_eq!(connected.send(b"READY=1").unwrap(), 7);
            assert_eq!(manager.recv(&mut [0; 16]).unwrap(), 7);
            assert!(tcp.accept().is_ok(), "what is open stays open");
            let (mut one, mut two) = UnixStream::pair().unwrap();
            one.write_all(b"x").unwrap();
            two.read_exact(&mut [0]).unwrap();
        };
        let _peer = TcpStream::connect(address).unwrap();
        let confined = || {
            set_no_new_privs(true).unwrap();
            if !deny_syscalls().unwrap() {
                return skip::because("seccomp is not available");
            }
            thread::scope(|scope| scope.spawn(tried).join().unwrap());
        };
        let confined = thread::scope(|scope| scope.spawn(confined).join());
        other.kill().unwrap();
        other.wait().unwrap();
        confined.unwrap();
    }
}
