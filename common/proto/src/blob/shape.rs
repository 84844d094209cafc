//! What a body is: how it is sealed, and what it holds (FORMAT 3).

use crate::envelope::{PartSize, Suite};

/// What a blob's parts hold. The discriminant is the number in a header.
/// Exhaustive: a reader refuses another one than it asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Content {
    /// The bytes of a file.
    #[default]
    File = 0,
    /// Pieces of files, which folders name.
    Pack = 1,
    /// A folder, which names the packs that it needs.
    Folder = 2,
}

impl Content {
    /// The content with this number; `None` when there is none. 3 to 15 are reserved.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::File),
            1 => Some(Self::Pack),
            2 => Some(Self::Folder),
            _ => None,
        }
    }

    /// The content's number in a header.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// What header and body share, so what no new header of a body can change (FORMAT 15).
/// Exhaustive: these are the fields that the core begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyShape {
    /// The AEAD that seals the parts.
    pub suite: Suite,
    /// Plaintext bytes of a full part.
    pub part_size: PartSize,
    /// What the parts hold.
    pub content: Content,
}

impl BodyShape {
    /// The three bytes that a core begins with, and that a body digest covers.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 3] {
        [self.suite.number(), self.part_size.log2(), self.content.number()]
    }
}
