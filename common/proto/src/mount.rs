//! The names of a server's mounts.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::limits::MOUNT_NAME_MAX_BYTES;

/// The name of a mount (PROTOCOL 5): at most 255 bytes of UTF-8, components between slashes, none
/// of them empty, `.` or `..`, no control characters. The root mount has the empty name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountName(String);

/// Why a text is not the name of a mount. Exhaustive: a server tells its operator in the words of
/// its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MountNameError {
    /// The name is longer than [`MOUNT_NAME_MAX_BYTES`].
    #[error("a mount's name has at most {MOUNT_NAME_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The name has a control character, which a terminal would act upon.
    #[error("a mount's name has no control characters, this one has U+{0:04X}")]
    Control(u32),
    /// The name has a leading, a doubled or a trailing slash.
    #[error("a mount's name has no empty components, and no slash at its beginning or its end")]
    EmptyComponent,
    /// The name has a component `.` or `..`.
    #[error("a mount's name has no component . or ..")]
    Dots,
}

impl MountName {
    /// The mount of a connection on which the client has selected none.
    pub const ROOT: Self = Self(String::new());

    /// Accepts `text` as a name. The empty name is that of the root mount.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, MountNameError> {
        if text.len() > MOUNT_NAME_MAX_BYTES {
            return Err(MountNameError::TooLong(text.len()));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(MountNameError::Control(u32::from(control)));
        }
        if text.is_empty() {
            return Ok(Self::ROOT);
        }
        for component in text.split('/') {
            match component {
                "" => return Err(MountNameError::EmptyComponent),
                "." | ".." => return Err(MountNameError::Dots),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the name of the root mount.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for MountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for MountName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Checks the text before it allocates, so that a peer cannot choose how much memory is used.
impl<'de> Deserialize<'de> for MountName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = MountName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a mount")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MountName, E> {
                MountName::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clean relative paths of up to 255 bytes are mount names.
    #[test]
    fn mount_name_accepts_clean_paths() {
        let longest = "x".repeat(255);
        for name in
            ["images", "a/b", "...", "a/..b", ".hidden", "Grüße/日本", "a b%20", "-", &longest]
        {
            let parsed = MountName::parse(name).unwrap();
            assert_eq!((parsed.as_str(), parsed.is_root()), (name, false));
            assert_eq!(parsed.to_string(), name);
        }
    }

    /// The root mount has the empty name.
    #[test]
    fn mount_name_of_the_root_is_empty() {
        assert_eq!(MountName::parse(""), Ok(MountName::ROOT));
        assert!(MountName::ROOT.is_root() && MountName::default().is_root());
        assert_eq!(MountName::ROOT.as_str(), "");
    }

    /// Names with dot components, empty components, control characters or 256 bytes are refused.
    #[test]
    fn mount_name_refuses_dots_slashes_and_control_characters() {
        use MountNameError::{Control, Dots, EmptyComponent, TooLong};
        assert_eq!(MountName::parse(&"x".repeat(256)), Err(TooLong(256)));
        assert_eq!(MountName::parse(&"é".repeat(128)), Err(TooLong(256)));
        for name in ["/", "/a", "a/", "a//b", "//"] {
            assert_eq!(MountName::parse(name), Err(EmptyComponent), "{name}");
        }
        for name in [".", "..", "a/..", "../a", "a/./b"] {
            assert_eq!(MountName::parse(name), Err(Dots), "{name}");
        }
        for (name, control) in [("a\0", 0), ("a\nb", 0x0A), ("\u{1b}[2J", 0x1B), ("\u{9b}", 0x9B)] {
            assert_eq!(MountName::parse(name), Err(Control(control)), "{name:?}");
        }
    }
}
