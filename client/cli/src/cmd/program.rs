//! The three programs: `zblob` with its verbs, and `zput` and `zget`, which are two of the verbs.
//!
//! `zput FILE…` is `zblob put FILE…` and `zget NAME…` is `zblob get NAME…`, by the same definition
//! of the arguments. A link to `zblob` under one of the two names is that program.

use std::{env, ffi::OsStr, path::Path};

use clap::ValueEnum;

/// A program of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// `zblob`, which has all verbs.
    #[value(help = None)]
    Zblob,
    /// The verb `put`.
    #[value(help = None)]
    Zput,
    /// The verb `get`.
    #[value(help = None)]
    Zget,
}

impl Program {
    /// The three programs of the package.
    pub const ALL: [Self; 3] = [Self::Zblob, Self::Zput, Self::Zget];

    /// The program that this process was called as: `zput` or `zget` if the last component of
    /// `argv[0]` says so, else `zblob`.
    #[must_use]
    pub fn called() -> Self {
        env::args_os().next().map_or(Self::Zblob, |path| Self::of_path(&path))
    }

    fn of_path(path: &OsStr) -> Self {
        let name = Path::new(path).file_name();
        let is_called = |program: &Self| name == Some(OsStr::new(program.name()));
        Self::ALL.into_iter().find(is_called).unwrap_or(Self::Zblob)
    }

    /// The program's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zblob => "zblob",
            Self::Zput => "zput",
            Self::Zget => "zget",
        }
    }

    /// The verb that the program is; `None` for `zblob`, whose first argument names it.
    pub(super) const fn verb(self) -> Option<&'static str> {
        match self {
            Self::Zblob => None,
            Self::Zput => Some("put"),
            Self::Zget => Some("get"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_follows_from_the_last_component_of_its_path() {
        for (path, program) in [
            ("zput", Program::Zput),
            ("/usr/bin/zget", Program::Zget),
            ("./zblob", Program::Zblob),
            ("zput/zblob", Program::Zblob),
            ("zputs", Program::Zblob),
            ("", Program::Zblob),
        ] {
            assert_eq!(Program::of_path(OsStr::new(path)), program, "{path}");
        }
    }
}
