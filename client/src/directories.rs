//! Where things of this user are: the XDG base directories.

use std::path::PathBuf;

use etcetera::{BaseStrategy, HomeDirError, choose_base_strategy};

/// The directories of one user, `zput` included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// `$XDG_CONFIG_HOME/zput`: the key file.
    pub config: PathBuf,
    /// `$XDG_DATA_HOME/zput`: the embedded store.
    pub data: PathBuf,
    /// `$XDG_STATE_HOME/zput`: what was seen.
    pub state: PathBuf,
}

impl Directories {
    /// Those of this process's user.
    ///
    /// # Errors
    /// When the home directory is not known.
    pub fn of_user() -> Result<Self, HomeDirError> {
        let base = choose_base_strategy()?;
        let data = base.data_dir();
        let state = base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state"));
        Ok(Self {
            config: base.config_dir().join("zput"),
            data: data.join("zput"),
            state: state.join("zput"),
        })
    }

    /// The key file that is used when none is named.
    #[must_use]
    pub fn default_key_file(&self) -> PathBuf {
        self.config.join("default.zkey")
    }

    /// The store of the embedded server.
    #[must_use]
    pub fn embedded_store(&self) -> PathBuf {
        self.data.join("store")
    }
}
