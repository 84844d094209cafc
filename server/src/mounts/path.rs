//! Where a file is in a mount.

use thiserror::Error;
use zput_common::limits::OBJECT_KEY_MAX_BYTES;

/// A path of at most [`OBJECT_KEY_MAX_BYTES`], relative, without empty components, `.`, `..` and NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemberPath<'a>(&'a str);

/// Why a text is no path of a file in a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathFlaw {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Over 1,024 bytes.
    #[error("it has more than {OBJECT_KEY_MAX_BYTES} bytes")]
    TooLong,
    /// What ends a string in C.
    #[error("it has a NUL")]
    Nul,
    /// An absolute path, a doubled or a trailing slash.
    #[error("it is not relative, or has an empty component")]
    EmptyComponent,
    /// `.` or `..`.
    #[error("it has a component . or ..")]
    Dots,
}

impl<'a> MemberPath<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, PathFlaw> {
        if text.is_empty() {
            return Err(PathFlaw::Empty);
        }
        if text.len() > OBJECT_KEY_MAX_BYTES {
            return Err(PathFlaw::TooLong);
        }
        if text.contains('\0') {
            return Err(PathFlaw::Nul);
        }
        for component in text.split('/') {
            match component {
                "" => return Err(PathFlaw::EmptyComponent),
                "." | ".." => return Err(PathFlaw::Dots),
                _ => {}
            }
        }
        Ok(Self(text))
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_inside_are_accepted() {
        for path in ["a", "a/b", "...", "a/..b", ".hidden", "Grüße/日本", "a b", "-", "a\nb"] {
            assert_eq!(MemberPath::parse(path).map(MemberPath::as_str), Ok(path));
        }
        assert!(MemberPath::parse(&"x".repeat(1024)).is_ok());
    }

    #[test]
    fn every_other_path_is_refused() {
        assert_eq!(MemberPath::parse(""), Err(PathFlaw::Empty));
        assert_eq!(MemberPath::parse(&"x".repeat(1025)), Err(PathFlaw::TooLong));
        assert_eq!(MemberPath::parse("a\0b"), Err(PathFlaw::Nul));
        for path in ["/", "/etc/passwd", "a//b", "a/", "//"] {
            assert_eq!(MemberPath::parse(path), Err(PathFlaw::EmptyComponent), "{path}");
        }
        for path in ["..", ".", "../a", "a/..", "a/../b", "a/./b", "./a"] {
            assert_eq!(MemberPath::parse(path), Err(PathFlaw::Dots), "{path}");
        }
    }
}
