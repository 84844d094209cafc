//! The names of a blob: the one its user gave, and the key under which a server stores it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::limits::{NAME_MAX_BYTES, OBJECT_KEY_MAX_BYTES};

/// The name that a user gives a blob (FORMAT 10): UTF-8, relative, no `.` or `..`, no control
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// The name is longer than [`NAME_MAX_BYTES`].
    #[error("a name has at most {NAME_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The name has a control character, which a terminal or a file system would act upon.
    #[error("a name has no control characters, this one has U+{0:04X}")]
    Control(u32),
    /// The name is an absolute path, or has a doubled or a trailing slash.
    #[error("a name is relative and has no empty components")]
    EmptyComponent,
    /// The name has a component `.` or `..`.
    #[error("a name has no component \"{0}\"")]
    Dots(String),
}

impl BlobName {
    /// Accepts `text` as a name.
    ///
    /// # Errors
    /// Says which rule of FORMAT 10 it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_MAX_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(NameError::Control(u32::from(control)));
        }
        for component in text.split('/') {
            match component {
                "" => return Err(NameError::EmptyComponent),
                "." | ".." => return Err(NameError::Dots(component.to_owned())),
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

    /// The last component, which is the name of a file made from the blob.
    #[must_use]
    pub fn base_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key under which a server stores an object: 1 to 1,024 opaque bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Vec<u8>);

/// A key that is empty or over [`OBJECT_KEY_MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an object key has 1 to {OBJECT_KEY_MAX_BYTES} bytes, this one has {0}")]
pub struct KeyLengthError(pub usize);

impl ObjectKey {
    /// Accepts `bytes` as a key.
    ///
    /// # Errors
    /// When there are none, or more than [`OBJECT_KEY_MAX_BYTES`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, KeyLengthError> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > OBJECT_KEY_MAX_BYTES {
            return Err(KeyLengthError(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for ObjectKey {
    type Error = KeyLengthError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        Self::new(bytes)
    }
}

impl From<ObjectKey> for Vec<u8> {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({self})")
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Checks the length before it allocates, so that a peer cannot choose how much memory is used.
impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ObjectKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "1 to {OBJECT_KEY_MAX_BYTES} bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ObjectKey, E> {
                if bytes.len() > OBJECT_KEY_MAX_BYTES {
                    return Err(E::custom(KeyLengthError(bytes.len())));
                }
                ObjectKey::new(bytes).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<ObjectKey, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                    if bytes.len() > OBJECT_KEY_MAX_BYTES {
                        return Err(de::Error::custom(KeyLengthError(bytes.len())));
                    }
                }
                ObjectKey::new(bytes).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deserializing refuses an object key that is empty or over 1,024 bytes.
    #[test]
    fn object_key_deserialize_refuses_length_out_of_bounds() {
        let key = ObjectKey::new("abc").unwrap();
        assert_eq!(postcard::to_allocvec(&key).unwrap(), [3, b'a', b'b', b'c']);
        assert_eq!(postcard::from_bytes::<ObjectKey>(&[3, b'a', b'b', b'c']).unwrap(), key);
        assert!(postcard::from_bytes::<ObjectKey>(&[0]).is_err());
        let mut long = vec![0x81, 0x08]; // 1,025
        long.resize(2 + 1025, 7);
        assert!(postcard::from_bytes::<ObjectKey>(&long).is_err());
        assert_eq!(serde_json::from_str::<ObjectKey>("[97,98,99]").unwrap(), key);
        assert_eq!(serde_json::to_string(&key).unwrap(), "[97,98,99]");
    }

    /// Ordinary relative paths, with Unicode and spaces, are blob names.
    #[test]
    fn blob_name_accepts_ordinary_names() {
        for name in ["a", "secret.bin", "images/app.img", "Grüße/日本.txt", "...", "a b", "-"] {
            assert_eq!(BlobName::parse(name).map(|n| n.to_string()), Ok(name.to_owned()));
        }
        assert_eq!(BlobName::parse("images/app.img").unwrap().base_name(), "app.img");
    }

    /// Absolute names, dot components, control characters and 1,025 bytes are refused.
    #[test]
    fn blob_name_refuses_absolute_dotted_and_control_names() {
        assert_eq!(BlobName::parse(""), Err(NameError::Empty));
        for name in ["/etc/passwd", "a//b", "a/", "/"] {
            assert_eq!(BlobName::parse(name), Err(NameError::EmptyComponent), "{name}");
        }
        for name in ["..", "../x", "a/../b", "a/..", ".", "./a"] {
            assert!(matches!(BlobName::parse(name), Err(NameError::Dots(_))), "{name}");
        }
        assert_eq!(BlobName::parse("a\nb"), Err(NameError::Control(10)));
        assert_eq!(BlobName::parse("a\0"), Err(NameError::Control(0)));
        assert_eq!(BlobName::parse("\u{9b}31m"), Err(NameError::Control(0x9b)));
        assert_eq!(BlobName::parse(&"x".repeat(1025)), Err(NameError::TooLong(1025)));
    }

    /// An object key has 1 to 1,024 bytes.
    #[test]
    fn object_key_has_1_to_1024_bytes() {
        assert_eq!(ObjectKey::new(""), Err(KeyLengthError(0)));
        assert!(ObjectKey::new(vec![0xff; 1024]).is_ok());
        assert_eq!(ObjectKey::new(vec![0; 1025]), Err(KeyLengthError(1025)));
    }
}
