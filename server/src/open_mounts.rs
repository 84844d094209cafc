//! From a configuration to a server: stores, trees and archives are opened here, and nothing of them is kept elsewhere.
//!
//! Stores are opened first, as who may make one; the rest is opened and read inside the sandbox.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tracing::warn;
use zput_common::proto::message::Scopes;

use crate::{
    config::{Config, MountConfig, MountSource},
    mounts::{
        DirMount, Guard, MountError, MountPoint, Mounts, MountsError, Policy, Source, TarMount,
    },
    server::ServerOptions,
    store::{Clock, STORE_FILE, Store, StoreError},
};

/// Why a configuration cannot be served.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A store says no.
    #[error("cannot open the store {}: {source}", path.display())]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The directory of a store cannot be looked at.
    #[error("cannot look at the directory of the store {}: {source}", path.display())]
    Look {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tree or an archive says no.
    #[error("cannot mount {}: {source}", path.display())]
    Mount {
        /// Which.
        path: PathBuf,
        /// Why.
        source: MountError,
    },
    /// The first store would be another one.
    #[error(
        "the first store among the mounts has the server's key and the accounts, and it would not \
         be {} any more: leave it the first one, or restart the server", path.display()
    )]
    Home {
        /// The one that is.
        path: PathBuf,
    },
    /// The mounts do not go together.
    #[error(transparent)]
    Mounts(#[from] MountsError),
}

/// Stores that are open, each once, however many mounts there are of it and however often the
/// configuration is read: what is under way in a store is known to those who have it from here.
#[derive(Clone, Debug, Default)]
pub struct Stores(Vec<OpenStore>);

#[derive(Clone, Debug)]
struct OpenStore {
    /// Device and inode of its directory.
    directory: (u64, u64),
    path: PathBuf,
    store: Store,
}

impl Stores {
    /// Opens those of `config`, and makes those that are not there, if it lets them be made.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn of(config: &Config) -> Result<Self, SetupError> {
        let mut stores = Self::default();
        // The sandbox hides where something is mounted.
        Guard::remember_mount_points();
        for mount in &config.mounts {
            if let MountSource::Store(path) = &mount.source {
                stores.get(path, config.create)?;
            }
        }
        Ok(stores)
    }

    /// The store in the directory at `path`.
    fn get(&mut self, path: &Path, create: bool) -> Result<Store, SetupError> {
        let cannot = |source| SetupError::Store { path: path.to_owned(), source };
        if let Ok(directory) = identity(path)
            && let Some(open) = self.0.iter().find(|open| open.directory == directory)
        {
            return Ok(open.store.clone());
        }
        let is_new = !path.join(STORE_FILE).exists();
        let open = if create { Store::open } else { Store::open_existing };
        let store = open(path, Clock::system()).map_err(cannot)?;
        if is_new {
            // A disk that is not mounted looks like this.
            warn!(path = %path.display(), "there was no store: made a new one, with a new key");
        }
        let directory =
            identity(path).map_err(|source| SetupError::Look { path: path.to_owned(), source })?;
        self.0.push(OpenStore { directory, path: path.to_owned(), store: store.clone() });
        Ok(store)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// What a configuration comes to, opened; `stores` are its stores.
///
/// # Errors
/// When something of it cannot be opened.
pub fn options(config: &Config, stores: &mut Stores) -> Result<ServerOptions, SetupError> {
    let limits = &config.limits;
    let all = config.mounts.iter().map(|mount| open(mount, stores, config.create));
    let mounts = Mounts::new(all.collect::<Result<Vec<_>, _>>()?)?;
    guard(config, &mounts)?;
    let defaults = ServerOptions::new(mounts, config.listen.clone());
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Ok(ServerOptions {
        http: config.http.clone(),
        max_connections: limits.connections,
        max_per_client: match limits.per_client {
            None => limits.connections.div_ceil(4),
            Some(0) => limits.connections,
            Some(most) => most,
        },
        limit_loopback: limits.per_client.is_some(),
        idle_seconds: seconds(limits.idle),
        http_head_seconds: seconds(limits.http_head),
        min_rate: limits.min_rate,
        workers: config.workers,
        pool_threads: limits.pool_threads,
        upload_memory_bytes: limits.upload_memory,
        open_files: limits.open_files,
        keep_files: limits.keep_files,
        keep_uploads: limits.keep_uploads,
        engine: config.engine,
        congestion: config.congestion.clone(),
        drain: limits.drain,
        ..defaults
    })
}

/// What another configuration comes to, while `served` is, whose stores `stores` are. What is the same in both stays open;
/// archives are indexed again, and a directory that took the place of another is served from then on.
///
/// # Errors
/// When something of it cannot be opened, or the server's key would be another one. Then nothing has changed.
pub fn mounts_again(
    config: &Config,
    before: &Config,
    served: &Mounts,
    stores: &mut Stores,
) -> Result<Mounts, SetupError> {
    let mut opened = Stores(stores.0.clone());
    let again = config.mounts.iter().map(|mount| {
        let is_archive = matches!(mount.source, MountSource::Tar { .. });
        let same = before.mounts.contains(mount) && !is_archive;
        match served.iter().find(|point| point.name() == mount.prefix.as_str()) {
            Some(point) if same => {
                if let Source::Dir(dir) = point.source() {
                    let path = mount.source.path().to_owned();
                    dir.reopen().map_err(|source| SetupError::Mount { path, source })?;
                }
                Ok(Arc::clone(point))
            }
            _ => open(mount, &mut opened, config.create).map(Arc::new),
        }
    });
    let mounts = Mounts::new(again.collect::<Result<Vec<_>, _>>()?)?;
    if let Some(home) = served.home() {
        let key = home.server_key().public_key();
        if mounts.home().is_none_or(|home| home.server_key().public_key() != key) {
            let is_home = |open: &&OpenStore| open.store.server_key().public_key() == key;
            let path = stores.0.iter().find(is_home).map(|open| open.path.clone());
            return Err(SetupError::Home { path: path.unwrap_or_default() });
        }
    }
    guard(config, &mounts)?;
    let served_stores: Vec<_> = mounts.stores().collect();
    opened.0.retain(|open| served_stores.iter().any(|store| store.is(&open.store)));
    *stores = opened;
    Ok(mounts)
}

/// Sees to it that no tree shows a store, key files or the configuration.
fn guard(config: &Config, mounts: &Mounts) -> Result<(), SetupError> {
    let mut guard = Guard::default();
    for mount in &config.mounts {
        if let MountSource::Store(path) = &mount.source {
            guard.store(path);
        }
    }
    if let Some(file) = &config.file {
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        guard.directory("the configuration in", dir.unwrap_or(Path::new(".")));
    }
    // Where the commands of this user keep what they need (XDG Base Directory).
    let of_user = |variable: &str, below_home: &str| -> Option<PathBuf> {
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(below_home));
        let base = env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
        Some(base.or_else(home)?.join("zput"))
    };
    if let Some(dir) = of_user("XDG_CONFIG_HOME", ".config") {
        guard.directory("the key files in", &dir);
    }
    if let Some(dir) = of_user("XDG_DATA_HOME", ".local/share") {
        guard.store(&dir.join("store"));
    }
    let guard = Arc::new(guard);
    for (mount, point) in config.mounts.iter().zip(mounts.iter()) {
        if let Source::Dir(dir) = point.source() {
            let path = mount.source.path().to_owned();
            dir.guarded(Arc::clone(&guard)).map_err(|source| SetupError::Mount { path, source })?;
        }
    }
    Ok(())
}

fn open(mount: &MountConfig, stores: &mut Stores, create: bool) -> Result<MountPoint, SetupError> {
    let path = mount.source.path();
    let mut policy = Policy {
        public: mount.public,
        plaintext: mount.plaintext,
        unsealed: mount.unsealed,
        ..Policy::PRIVATE
    };
    let unmountable = |source| SetupError::Mount { path: path.to_owned(), source };
    let source = match &mount.source {
        MountSource::Store(path) => Source::Store(stores.get(path, create)?),
        MountSource::Dir { path, stat_validity } => {
            policy.stat_validity = *stat_validity;
            let dir = DirMount::open(path, Clock::system()).map_err(unmountable)?;
            let dir = dir.looked_at_every(*stat_validity);
            let for_all = policy.anonymous().allows(Scopes::GET);
            Source::Dir(if for_all { dir.public() } else { dir })
        }
        MountSource::Tar { path, strip_prefix } => {
            Source::Tar(TarMount::open(path, strip_prefix.as_deref()).map_err(unmountable)?)
        }
    };
    Ok(MountPoint::new(mount.prefix.as_str(), source, policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const FIRST: &str = "[[mount]]\nstore = \"first\"\n";
    const SECOND: &str = "[[mount]]\nprefix = \"second\"\nstore = \"second\"\n";

    fn read(dir: &tempfile::TempDir, text: &str) -> Config {
        config::parse(&dir.path().join("z.toml"), text).unwrap()
    }

    fn start(config: &Config) -> (Mounts, Stores) {
        let mut stores = Stores::of(config).unwrap();
        (options(config, &mut stores).unwrap().mounts, stores)
    }

    #[test]
    fn a_store_is_opened_once_however_many_mounts_it_has() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("first")).unwrap();
        std::os::unix::fs::symlink("first", dir.path().join("link")).unwrap();
        let again = "[[mount]]\nprefix = \"again\"\nstore = \"link\"\npublic = true\n";
        let (mounts, stores) = start(&read(&dir, &[FIRST, again, SECOND].concat()));
        let [first, link, second] = mounts.stores().collect::<Vec<_>>()[..] else { panic!() };
        assert!(first.is(link) && !first.is(second));
        assert_eq!(stores.0.len(), 2);
    }

    #[test]
    fn a_store_stays_open_when_its_mount_changes() {
        let dir = tempfile::tempdir().unwrap();
        let before = read(&dir, &[FIRST, SECOND].concat());
        let (served, mut stores) = start(&before);
        let after = read(&dir, &[FIRST, "public = true\n", SECOND, "unsealed = true\n"].concat());
        let mounts = mounts_again(&after, &before, &served, &mut stores).unwrap();
        let pairs = served.stores().zip(mounts.stores());
        assert!(pairs.map(|(before, after)| before.is(after)).eq([true, true]));
        assert!(mounts.iter().all(|mount| mount.policy().public == mount.name().is_empty()));
        // One that is not served any more is closed, and opened again where it comes back.
        let alone = read(&dir, FIRST);
        let mounts = mounts_again(&alone, &after, &mounts, &mut stores).unwrap();
        assert_eq!((mounts.stores().count(), stores.0.len()), (1, 1));
        let mounts = mounts_again(&before, &alone, &mounts, &mut stores).unwrap();
        assert_eq!((mounts.stores().count(), stores.0.len()), (2, 2));
    }

    #[test]
    fn the_servers_key_does_not_change_while_it_serves() {
        let dir = tempfile::tempdir().unwrap();
        let before = read(&dir, &[FIRST, SECOND].concat());
        let (served, mut stores) = start(&before);
        let tree = "[[mount]]\ndir = \"first\"\n";
        for text in [&[SECOND, FIRST].concat(), SECOND, tree] {
            let after = read(&dir, text);
            let refused = mounts_again(&after, &before, &served, &mut stores).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!(
                    "the first store among the mounts has the server's key and the accounts, and \
                     it would not be {} any more: leave it the first one, or restart the server",
                    dir.path().join("first").display()
                )
            );
            assert_eq!(stores.0.len(), 2, "nothing has changed");
        }
    }

    #[test]
    fn no_store_is_made_where_none_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let config = read(&dir, &["create = false\n", FIRST].concat());
        let refused = Stores::of(&config).unwrap_err().to_string();
        assert!(refused.contains("no store is there"), "{refused}");
        assert!(!dir.path().join("first").exists());
        drop(start(&read(&dir, FIRST)));
        assert!(Stores::of(&config).is_ok());
    }
}
