//! From a configuration to a server: stores, trees and archives are opened here, and nothing of them is kept elsewhere.

use std::{path::PathBuf, sync::Arc};

use thiserror::Error;

use crate::{
    config::{Config, MountConfig, MountSource},
    mounts::{DirMount, MountError, MountPoint, Mounts, MountsError, Policy, Source, TarMount},
    server::ServerOptions,
    store::{Clock, Store, StoreError},
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
    /// A tree or an archive says no.
    #[error("cannot mount {}: {source}", path.display())]
    Mount {
        /// Which.
        path: PathBuf,
        /// Why.
        source: MountError,
    },
    /// The mounts do not go together.
    #[error(transparent)]
    Mounts(#[from] MountsError),
}

/// What a configuration comes to, opened.
///
/// # Errors
/// When something of it cannot be opened.
pub fn options(config: &Config) -> Result<ServerOptions, SetupError> {
    let limits = &config.limits;
    let mounts = Mounts::new(open_all(config)?)?;
    let defaults = ServerOptions::new(mounts, config.listen.clone());
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Ok(ServerOptions {
        http: config.http.clone(),
        max_connections: limits.connections,
        max_per_client: limits.per_client.unwrap_or(limits.connections),
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

/// What another configuration comes to, while `served` is. What is the same in both stays open; archives are indexed again.
///
/// # Errors
/// When something of it cannot be opened. Then nothing has changed.
pub fn mounts_again(
    config: &Config,
    before: &Config,
    served: &Mounts,
) -> Result<Mounts, SetupError> {
    let again = config.mounts.iter().map(|mount| {
        let is_archive = matches!(mount.source, MountSource::Tar { .. });
        let same = before.mounts.contains(mount) && !is_archive;
        match served.iter().find(|point| point.name() == mount.prefix.as_str()) {
            Some(point) if same => Ok(Arc::clone(point)),
            _ => open(mount).map(Arc::new),
        }
    });
    Ok(Mounts::new(again.collect::<Result<Vec<_>, _>>()?)?)
}

fn open_all(config: &Config) -> Result<Vec<MountPoint>, SetupError> {
    config.mounts.iter().map(open).collect()
}

fn open(mount: &MountConfig) -> Result<MountPoint, SetupError> {
    let path = mount.source.path();
    let mut policy = Policy {
        public: mount.public,
        plaintext: mount.plaintext,
        unsealed: mount.unsealed,
        ..Policy::PRIVATE
    };
    let unmountable = |source| SetupError::Mount { path: path.to_owned(), source };
    let source = match &mount.source {
        MountSource::Store(path) => Source::Store(
            Store::open(path, Clock::system())
                .map_err(|source| SetupError::Store { path: path.clone(), source })?,
        ),
        MountSource::Dir { path, stat_validity } => {
            policy.stat_validity = *stat_validity;
            Source::Dir(DirMount::open(path, Clock::system()).map_err(unmountable)?)
        }
        MountSource::Tar { path, strip_prefix } => {
            Source::Tar(TarMount::open(path, strip_prefix.as_deref()).map_err(unmountable)?)
        }
    };
    Ok(MountPoint::new(mount.prefix.as_str(), source, policy))
}
