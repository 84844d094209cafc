//! Paths of files in a mount.

use thiserror::Error;
use zput_proto::limits::OBJECT_KEY_MAX_BYTES;

/// A path of at most [`OBJECT_KEY_MAX_BYTES`], relative, without empty components, `.`, `..` and
/// NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RelativePath<'a>(&'a str);

/// Why a text is not a path of a file in a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than 1,024 bytes.
    #[error("it has more than {OBJECT_KEY_MAX_BYTES} bytes")]
    TooLong,
    /// It contains a NUL, which ends a string in C.
    #[error("it has a NUL")]
    Nul,
    /// It is absolute, or has a doubled or trailing slash.
    #[error("it is not relative, or has an empty component")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("it has a component . or ..")]
    Dots,
}

impl<'a> RelativePath<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > OBJECT_KEY_MAX_BYTES {
            return Err(PathError::TooLong);
        }
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        for component in text.split('/') {
            match component {
                "" => return Err(PathError::EmptyComponent),
                "." | ".." => return Err(PathError::Dots),
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

    /// RelativePath accepts relative paths of up to 1,024 bytes, also with odd names.
    #[test]
    fn relative_path_accepts_relative_path() {
        for path in ["a", "a/b", "...", "a/..b", ".hidden", "Grüße/日本", "a b", "-", "a\nb"] {
            assert_eq!(RelativePath::parse(path).map(RelativePath::as_str), Ok(path));
        }
        assert!(RelativePath::parse(&"x".repeat(1024)).is_ok());
    }

    /// RelativePath rejects empty, long and NUL paths, and empty or dot components.
    #[test]
    fn relative_path_rejects_dots_empty_components_and_nul() {
        assert_eq!(RelativePath::parse(""), Err(PathError::Empty));
        assert_eq!(RelativePath::parse(&"x".repeat(1025)), Err(PathError::TooLong));
        assert_eq!(RelativePath::parse("a\0b"), Err(PathError::Nul));
        for path in ["/", "/etc/passwd", "a//b", "a/", "//"] {
            assert_eq!(RelativePath::parse(path), Err(PathError::EmptyComponent), "{path}");
        }
        for path in ["..", ".", "../a", "a/..", "a/../b", "a/./b", "./a"] {
            assert_eq!(RelativePath::parse(path), Err(PathError::Dots), "{path}");
        }
    }
}
