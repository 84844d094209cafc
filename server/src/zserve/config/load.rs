//! Loading: the command line, the file that it names, and the directories that a service manager
//! gives to the process.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{
    cli::ServeArgs,
    error::ConfigError,
    file::parse,
    settings::{CONFIG_FILE_MAX_BYTES, Config},
};

/// The file in the configuration directory of a unit.
const OWN_FILE: &str = "zserve.toml";

/// The store in the state directory of a unit.
const OWN_STORE: &str = "blobs";

/// The directories that a service manager gives to the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directories {
    /// `ConfigurationDirectory=`, if it is set.
    pub configuration: Option<PathBuf>,
    /// `StateDirectory=`, if it is set.
    pub state: Option<PathBuf>,
}

impl Directories {
    /// The directories in the environment of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        // "In case of multiple directories … separated by colon": the first one is the service's
        // own.
        let first = |name| {
            let all = env::var_os(name)?;
            env::split_paths(&all).next().filter(|path| path.is_absolute())
        };
        Self { configuration: first("CONFIGURATION_DIRECTORY"), state: first("STATE_DIRECTORY") }
    }
}

impl Config {
    /// The configuration of this command line and the file that it names.
    ///
    /// # Errors
    /// When the file cannot be read or is invalid, and when there is no mount.
    pub fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        Self::load_beside(args, &Directories::of_this_process())
    }

    /// As [`Self::load`], for a process with the directories `own`.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_beside(args: &ServeArgs, own: &Directories) -> Result<Self, ConfigError> {
        // systemd.exec(5), ConfigurationDirectory=, StateDirectory=: what the unit gives to the
        // service.
        let of_unit = own.configuration.as_ref().map(|path| path.join(OWN_FILE));
        let file = args.config.clone().or(of_unit.filter(|path| path.exists()));
        let mut config = match &file {
            Some(path) => parse(path, &read(path)?)?,
            None => Self::default(),
        };
        args.override_in(&mut config);
        if config.mounts.is_empty()
            && file.is_none()
            && let Some(state) = &own.state
        {
            let args = ServeArgs { store: Some(state.join(OWN_STORE)), ..args.clone() };
            args.override_in(&mut config);
        }
        if config.mounts.is_empty() {
            return Err(ConfigError::NothingToServe);
        }
        if config.limits.open_file_cache > config.limits.max_open_files {
            return Err(ConfigError::OpenFileCache {
                cached: config.limits.open_file_cache,
                open: config.limits.max_open_files,
            });
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let cannot = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(cannot)?;
    file.take(CONFIG_FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > CONFIG_FILE_MAX_BYTES {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}
