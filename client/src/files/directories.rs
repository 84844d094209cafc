//! Where files of this user are: XDG base directories, and systemd's state directory.
//!
//! | directory | where |
//! |---|---|
//! | key file | `$XDG_CONFIG_HOME/zput`, else `~/.config/zput` |
//! | embedded store | `$XDG_DATA_HOME/zput`, else `~/.local/share/zput` |
//! | state | `$STATE_DIRECTORY` of a service (systemd.exec(5)), else `$XDG_STATE_HOME/zput`, else `~/.local/state/zput` |
//!
//! A relative path in an XDG variable is ignored, as the XDG specification demands. A service's
//! configuration directory belongs to its own program and rarely holds secrets, so a service gets
//! its key file by `ZPUT_KEY` or as a credential.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The directories of one user, each ending in `zput`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Holds the default key file.
    pub config: PathBuf,
    /// Holds the embedded store.
    pub data: PathBuf,
    /// Holds the rollback record, journals and partial downloads.
    pub state: PathBuf,
}

/// Why the directories are unknown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DirectoriesError {
    /// There is no home directory, and not all variables that could replace it are set. Holds the
    /// user id.
    #[error(
        "HOME is not set, and this user (uid {0}) has no home directory (set HOME, or XDG_CONFIG_HOME, \
         XDG_DATA_HOME and XDG_STATE_HOME)"
    )]
    NoHome(u32),
    /// A relative home would mean another directory in each working directory.
    #[error("HOME is {}, which is relative: set it to an absolute path", .0.display())]
    Relative(PathBuf),
}

impl Directories {
    /// The directories of this process's user.
    ///
    /// # Errors
    /// When the home directory is needed, and is unknown or relative.
    pub fn of_user() -> Result<Self, DirectoriesError> {
        // An empty HOME counts as unset; then the user database is asked.
        Self::of(|name| env::var_os(name), env::home_dir())
    }

    fn of(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self, DirectoriesError> {
        let absolute =
            |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || match home.clone().filter(|home| !home.as_os_str().is_empty()) {
            Some(home) if home.is_absolute() => Ok(home),
            Some(home) => Err(DirectoriesError::Relative(home)),
            None => Err(DirectoriesError::NoHome(rustix::process::geteuid().as_raw())),
        };
        let base = |name: &str, below: &str| match absolute(name) {
            Some(base) => Ok(base.join("zput")),
            None => Ok(home()?.join(below).join("zput")),
        };
        let state = match variable("STATE_DIRECTORY").as_deref().and_then(of_service) {
            Some(state) => state,
            None => base("XDG_STATE_HOME", ".local/state")?,
        };
        Ok(Self {
            config: base("XDG_CONFIG_HOME", ".config")?,
            data: base("XDG_DATA_HOME", ".local/share")?,
            state,
        })
    }

    /// Directories of which only that for state is used.
    pub(crate) fn of_state(state: PathBuf) -> Self {
        Self { config: PathBuf::new(), data: PathBuf::new(), state }
    }

    /// The key file to use when none is named.
    #[must_use]
    pub fn default_key_file(&self) -> PathBuf {
        self.config.join("default.zkey")
    }

    /// The path of the embedded store.
    #[must_use]
    pub fn embedded_store(&self) -> PathBuf {
        self.data.join("store")
    }
}

/// systemd.exec(5): the paths of a service's directories, separated by colons. The first may be
/// shared with the service's own program, so `zput` is appended.
fn of_service(paths: &OsStr) -> Option<PathBuf> {
    let first = paths.as_bytes().split(|byte| *byte == b':').next()?;
    let first = Path::new(OsStr::from_bytes(first));
    let own = if first.ends_with("zput") { first.to_owned() } else { first.join("zput") };
    first.is_absolute().then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        home: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<[String; 3], DirectoriesError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Directories::of(variable, home.map(PathBuf::from))
            .map(|d| [d.config, d.data, d.state].map(|path| path.display().to_string()))
    }

    fn paths(paths: [&str; 3]) -> Result<[String; 3], DirectoriesError> {
        Ok(paths.map(str::to_owned))
    }

    const HOME: [&str; 3] = ["/h/.config/zput", "/h/.local/share/zput", "/h/.local/state/zput"];
    const XDG: [(&str, &str); 3] =
        [("XDG_CONFIG_HOME", "/c"), ("XDG_DATA_HOME", "/d"), ("XDG_STATE_HOME", "/s")];

    /// Directories are below the home unless an absolute XDG variable is set.
    #[test]
    fn directories_default_to_the_home() {
        assert_eq!(found(Some("/h"), &[]), paths(HOME));
        let relative = XDG.map(|(name, _)| (name, "rel"));
        assert_eq!(found(Some("/h"), &relative), paths(HOME));
        assert_eq!(found(Some("/h"), &XDG), paths(["/c/zput", "/d/zput", "/s/zput"]));
        assert_eq!(
            found(Some("/"), &[]),
            paths(["/.config/zput", "/.local/share/zput", "/.local/state/zput"])
        );
    }

    /// A missing or relative home is an error only if a directory depends on it.
    #[test]
    fn directories_need_a_home_only_as_a_fallback() {
        assert_eq!(found(None, &XDG), paths(["/c/zput", "/d/zput", "/s/zput"]));
        let uid = rustix::process::geteuid().as_raw();
        for home in [None, Some("")] {
            assert_eq!(found(home, &XDG[..2]), Err(DirectoriesError::NoHome(uid)));
        }
        let relative = Err(DirectoriesError::Relative("rel".into()));
        assert_eq!(found(Some("rel"), &XDG[1..]), relative);
        assert_eq!(found(Some("rel"), &XDG), paths(["/c/zput", "/d/zput", "/s/zput"]));
    }

    /// A service's state is in the first path of STATE_DIRECTORY, if that is absolute.
    #[test]
    fn directories_take_state_directory_of_a_service() {
        let state =
            |value: &str| found(Some("/h"), &[("STATE_DIRECTORY", value)]).unwrap()[2].clone();
        assert_eq!(state("/var/lib/zput"), "/var/lib/zput");
        assert_eq!(state("/var/lib/app:/var/lib/other"), "/var/lib/app/zput");
        for ignored in ["", "rel", ":/var/lib/x"] {
            assert_eq!(state(ignored), "/h/.local/state/zput", "{ignored}");
        }
    }
}
