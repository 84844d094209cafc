//! Opens the stores, trees and archives of a configuration.
//!
//! Stores are opened first, before privileges that making one may need are given up; the rest is
//! opened and read inside the sandbox.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tracing::warn;
use zput_proto::message::Scopes;

use crate::{
    mounts::{
        DirMount, MountError, MountPoint, Mounts, MountsError, Policy, ProtectedPaths, Source,
        TarMount,
    },
    runtime::options::ServerOptions,
    store::{Clock, STORE_FILE, Store, StoreError},
    zserve::config::{Config, MountConfig, MountSource},
};

/// Why a configuration cannot be served.
#[derive(Debug, Error)]
pub enum OpenMountsError {
    /// A store cannot be opened.
    #[error("cannot open the store {}: {source}", path.display())]
    Store {
        /// The store's directory.
        path: PathBuf,
        /// The error of the store.
        source: StoreError,
    },
    /// The directory of a store cannot be looked up.
    #[error("cannot stat the directory of the store {}: {source}", path.display())]
    Look {
        /// The store's directory.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// A tree or an archive cannot be opened.
    #[error("cannot mount {}: {source}", path.display())]
    Mount {
        /// The path of the tree or archive.
        path: PathBuf,
        /// The error of the mount.
        source: MountError,
    },
    /// A reload would change the first store, and with it the server's key.
    #[error(
        "a reload cannot change the first store, which has the server's key and the accounts: \
         leave {} the first one, or restart the server", path.display()
    )]
    Home {
        /// The directory of the current first store.
        path: PathBuf,
    },
    /// The mounts cannot be served together.
    #[error(transparent)]
    Mounts(#[from] MountsError),
}

/// The open stores, each opened once, however many mounts it has and however often the
/// configuration is loaded: an open store knows its uploads in progress.
#[derive(Clone, Debug, Default)]
pub struct OpenStores(Vec<OpenStore>);

#[derive(Clone, Debug)]
struct OpenStore {
    /// Device and inode numbers of the store's directory.
    directory: (u64, u64),
    path: PathBuf,
    store: Store,
}

impl OpenStores {
    /// Opens the stores of `config`, and creates missing ones if `config` allows it.
    ///
    /// # Errors
    /// When a store cannot be opened.
    pub fn open(config: &Config) -> Result<Self, OpenMountsError> {
        let mut stores = Self::default();
        // The sandbox will hide the mount points.
        ProtectedPaths::remember_mount_points();
        for mount in &config.mounts {
            if let MountSource::Store(path) = &mount.source {
                stores.get(path, config.create)?;
            }
        }
        Ok(stores)
    }

    /// The store in the directory at `path`, opened if it is not open yet.
    fn get(&mut self, path: &Path, create: bool) -> Result<Store, OpenMountsError> {
        let cannot = |source| OpenMountsError::Store { path: path.to_owned(), source };
        if let Ok(directory) = device_and_inode(path)
            && let Some(open) = self.0.iter().find(|open| open.directory == directory)
        {
            return Ok(open.store.clone());
        }
        let is_new = !path.join(STORE_FILE).exists();
        let open = if create { Store::open } else { Store::open_existing };
        let store = open(path, Clock::system()).map_err(cannot)?;
        if is_new {
            // The disk of a store that is not mounted looks like a missing store.
            warn!(path = %path.display(), "created a new store with a new server key");
        }
        let directory = device_and_inode(path)
            .map_err(|source| OpenMountsError::Look { path: path.to_owned(), source })?;
        self.0.push(OpenStore { directory, path: path.to_owned(), store: store.clone() });
        Ok(store)
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// The server options of a configuration, with its mounts opened; `stores` are its stores.
///
/// # Errors
/// When a mount cannot be opened.
pub fn server_options(
    config: &Config,
    stores: &mut OpenStores,
) -> Result<ServerOptions, OpenMountsError> {
    let all = config.mounts.iter().map(|mount| open(mount, stores, config.create));
    let mounts = Mounts::new(all.collect::<Result<Vec<_>, _>>()?)?;
    protect_secrets(config, &mounts)?;
    Ok(ServerOptions {
        mounts,
        listen: config.listen.clone(),
        http: config.http.clone(),
        limits: config.limits,
        workers: config.workers,
        engine: config.engine,
        congestion: config.congestion.clone(),
    })
}

/// The mounts of a reloaded configuration `config`, while those of `before` are `served`. Mounts
/// that are equal in both stay open, except archives, which are indexed again; a directory that
/// took the place of another is served from then on.
///
/// # Errors
/// When a mount cannot be opened, or the server's key would change. Nothing has changed then.
pub fn reload_mounts(
    config: &Config,
    before: &Config,
    served: &Mounts,
    stores: &mut OpenStores,
) -> Result<Mounts, OpenMountsError> {
    let mut opened = OpenStores(stores.0.clone());
    let again = config.mounts.iter().map(|mount| {
        let is_archive = matches!(mount.source, MountSource::Tar { .. });
        let same = before.mounts.contains(mount) && !is_archive;
        match served.iter().find(|point| point.name() == mount.prefix.as_str()) {
            Some(point) if same => {
                if let Source::Dir(dir) = point.source() {
                    let path = mount.source.path().to_owned();
                    dir.reopen().map_err(|source| OpenMountsError::Mount { path, source })?;
                }
                Ok(Arc::clone(point))
            }
            _ => open(mount, &mut opened, config.create).map(Arc::new),
        }
    });
    let mounts = Mounts::new(again.collect::<Result<Vec<_>, _>>()?)?;
    if let Some(home) = served.first_store() {
        let key = home.server_key().public_key();
        if mounts.first_store().is_none_or(|home| home.server_key().public_key() != key) {
            let is_home = |open: &&OpenStore| open.store.server_key().public_key() == key;
            let path = stores.0.iter().find(is_home).map(|open| open.path.clone());
            return Err(OpenMountsError::Home { path: path.unwrap_or_default() });
        }
    }
    protect_secrets(config, &mounts)?;
    let served_stores: Vec<_> = mounts.stores().collect();
    opened.0.retain(|open| served_stores.iter().any(|store| store.ptr_eq(&open.store)));
    *stores = opened;
    Ok(mounts)
}

/// Refuses trees that show a store, key files or the configuration.
fn protect_secrets(config: &Config, mounts: &Mounts) -> Result<(), OpenMountsError> {
    let mut protected = ProtectedPaths::default();
    for mount in &config.mounts {
        if let MountSource::Store(path) = &mount.source {
            protected.add_store(path);
        }
    }
    if let Some(file) = &config.file {
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        protected.add_directory("the configuration in", dir.unwrap_or(Path::new(".")));
    }
    // The directories in which commands of this user keep their files (XDG Base Directory).
    let of_user = |variable: &str, below_home: &str| -> Option<PathBuf> {
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(below_home));
        let base = env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
        Some(base.or_else(home)?.join("zput"))
    };
    if let Some(dir) = of_user("XDG_CONFIG_HOME", ".config") {
        protected.add_directory("the key files in", &dir);
    }
    if let Some(dir) = of_user("XDG_DATA_HOME", ".local/share") {
        protected.add_store(&dir.join("store"));
    }
    let protected = Arc::new(protected);
    for (mount, point) in config.mounts.iter().zip(mounts.iter()) {
        if let Source::Dir(dir) = point.source() {
            let path = mount.source.path().to_owned();
            dir.set_protected(Arc::clone(&protected))
                .map_err(|source| OpenMountsError::Mount { path, source })?;
        }
    }
    Ok(())
}

fn open(
    mount: &MountConfig,
    stores: &mut OpenStores,
    create: bool,
) -> Result<MountPoint, OpenMountsError> {
    let path = mount.source.path();
    let mut policy = Policy {
        public: mount.public,
        anonymous: mount.anonymous,
        allow_unsealed: mount.allow_unsealed,
        ..Policy::PRIVATE
    };
    let unmountable = |source| OpenMountsError::Mount { path: path.to_owned(), source };
    let source = match &mount.source {
        MountSource::Store(path) => Source::Store(stores.get(path, create)?),
        MountSource::Dir { path, revalidate_after } => {
            policy.revalidate_after = *revalidate_after;
            let dir = DirMount::open(path, Clock::system()).map_err(unmountable)?;
            let dir = dir.check_every(*revalidate_after);
            let for_all = policy.anonymous_scopes().allows(Scopes::GET);
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
    use crate::zserve::config;

    const FIRST: &str = "[[mount]]\nstore = \"first\"\n";
    const SECOND: &str = "[[mount]]\nprefix = \"second\"\nstore = \"second\"\n";

    fn read(dir: &tempfile::TempDir, text: &str) -> Config {
        config::parse(&dir.path().join("z.toml"), text).unwrap()
    }

    fn start(config: &Config) -> (Mounts, OpenStores) {
        let mut stores = OpenStores::open(config).unwrap();
        (server_options(config, &mut stores).unwrap().mounts, stores)
    }

    /// OpenStores opens a store once although several mounts lead to it.
    #[test]
    fn open_stores_opens_store_of_several_mounts_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("first")).unwrap();
        std::os::unix::fs::symlink("first", dir.path().join("link")).unwrap();
        let again = "[[mount]]\nprefix = \"again\"\nstore = \"link\"\npublic = true\n";
        let (mounts, stores) = start(&read(&dir, &[FIRST, again, SECOND].concat()));
        let [first, link, second] = mounts.stores().collect::<Vec<_>>()[..] else { panic!() };
        assert!(first.ptr_eq(link) && !first.ptr_eq(second));
        assert_eq!(stores.0.len(), 2);
    }

    /// A reload keeps a store open when its mount changes, and closes a store no longer served.
    #[test]
    fn reload_mounts_keeps_store_open_and_closes_unused_one() {
        let dir = tempfile::tempdir().unwrap();
        let before = read(&dir, &[FIRST, SECOND].concat());
        let (served, mut stores) = start(&before);
        let after =
            read(&dir, &[FIRST, "public = true\n", SECOND, "allow_unsealed = true\n"].concat());
        let mounts = reload_mounts(&after, &before, &served, &mut stores).unwrap();
        let pairs = served.stores().zip(mounts.stores());
        assert!(pairs.map(|(before, after)| before.ptr_eq(after)).eq([true, true]));
        assert!(mounts.iter().all(|mount| mount.policy().public == mount.name().is_empty()));
        // A store that is no longer served is closed, and opened again when it comes back.
        let alone = read(&dir, FIRST);
        let mounts = reload_mounts(&alone, &after, &mounts, &mut stores).unwrap();
        assert_eq!((mounts.stores().count(), stores.0.len()), (1, 1));
        let mounts = reload_mounts(&before, &alone, &mounts, &mut stores).unwrap();
        assert_eq!((mounts.stores().count(), stores.0.len()), (2, 2));
    }

    /// A reload that makes another store the first one is refused and changes nothing.
    #[test]
    fn reload_mounts_refuses_other_first_store() {
        let dir = tempfile::tempdir().unwrap();
        let before = read(&dir, &[FIRST, SECOND].concat());
        let (served, mut stores) = start(&before);
        let tree = "[[mount]]\ndir = \"first\"\n";
        for text in [&[SECOND, FIRST].concat(), SECOND, tree] {
            let after = read(&dir, text);
            let refused = reload_mounts(&after, &before, &served, &mut stores).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!(
                    "a reload cannot change the first store, which has the server's key and the \
                     accounts: leave {} the first one, or restart the server",
                    dir.path().join("first").display()
                )
            );
            assert_eq!(stores.0.len(), 2, "nothing has changed");
        }
    }

    /// OpenStores makes no store when create is false, and opens an existing one.
    #[test]
    fn open_stores_with_create_false_makes_no_store() {
        let dir = tempfile::tempdir().unwrap();
        let config = read(&dir, &["create = false\n", FIRST].concat());
        let refused = OpenStores::open(&config).unwrap_err().to_string();
        assert!(refused.contains("no store is there"), "{refused}");
        assert!(!dir.path().join("first").exists());
        drop(start(&read(&dir, FIRST)));
        assert!(OpenStores::open(&config).is_ok());
    }
}
