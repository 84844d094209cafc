//! The packs that a folder needs, and which of their parts (FORMAT 7, "References").
//!
//! ```text
//! references = count[4] || count × ( id[16] || parts[4] || whole[1] || bits )
//! ```

use thiserror::Error;

use crate::cursor::Cursor;
use crate::limits::{PACKS_MAX, PARTS_MAX, REFERENCES_MAX_BYTES};

/// Bytes of a pack's id.
pub const PACK_ID_BYTES: usize = 16;

/// Why bytes are not references. `index` counts packs from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReferencesError {
    /// There are more bytes than references have.
    #[error("references have at most {REFERENCES_MAX_BYTES} bytes, these have {0}")]
    TooLong(usize),
    /// A field ends behind the end of the references.
    #[error("the references are cut off")]
    Cut,
    /// There are more packs than a folder can need.
    #[error("a folder needs at most {PACKS_MAX} packs, and this one {0}")]
    Count(u32),
    /// A pack stands twice, or behind one with a greater id.
    #[error("the id of pack {index} is not above the one before")]
    Order {
        /// Index of the pack.
        index: usize,
    },
    /// No pack has so many parts.
    #[error("pack {index} cannot have {parts} parts")]
    Parts {
        /// Index of the pack.
        index: usize,
        /// How many parts the references say that it has.
        parts: u32,
    },
    /// `whole` is neither 0 nor 1.
    #[error("pack {index} is needed in a way {whole} that is not known")]
    Whole {
        /// Index of the pack.
        index: usize,
        /// The value of the field.
        whole: u8,
    },
    /// All parts of a pack are needed, which is spelled without bits.
    #[error("all parts of pack {index} are needed, which needs no bits")]
    AllNeeded {
        /// Index of the pack.
        index: usize,
    },
    /// A pack is named of which nothing is needed.
    #[error("no part of pack {index} is needed")]
    NoneNeeded {
        /// Index of the pack.
        index: usize,
    },
    /// A bit is set behind those of the pack's parts.
    #[error("bits of pack {index} stand for parts that it does not have")]
    SpareBits {
        /// Index of the pack.
        index: usize,
    },
    /// Bytes follow the last pack.
    #[error("{0} bytes follow the references")]
    Trailing(usize),
}

/// One pack that a folder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The pack's id.
    pub id: [u8; PACK_ID_BYTES],
    /// How many parts the pack has.
    pub parts: u32,
    /// Which of them are needed.
    pub needed: Needed<'a>,
}

/// Which parts of a pack a folder needs. Exhaustive: these are the two values of `whole`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed<'a> {
    /// All of them.
    All,
    /// Those whose bits are set: part `i` has bit `i mod 8`, from the lowest, of byte `⌊i / 8⌋`.
    Bits(&'a [u8]),
}

impl Reference<'_> {
    /// Whether the folder needs the part of this index.
    #[must_use]
    pub fn needs(&self, part: u32) -> bool {
        part < self.parts
            && match self.needed {
                Needed::All => true,
                Needed::Bits(bits) => bits.get(byte_of(part)).is_some_and(|b| b & bit(part) != 0),
            }
    }
}

/// Well-formed references: the only encoding of what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct References<'a>(&'a [u8]);

impl<'a> References<'a> {
    /// Parses `bytes`, whole references and nothing else.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 they break.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReferencesError> {
        if bytes.len() > REFERENCES_MAX_BYTES {
            return Err(ReferencesError::TooLong(bytes.len()));
        }
        let mut cursor = Cursor::new(bytes);
        let count = cursor.u32().ok_or(ReferencesError::Cut)?;
        if u64::from(count) > PACKS_MAX as u64 {
            return Err(ReferencesError::Count(count));
        }
        let mut last = None;
        for index in 0..count as usize {
            let reference = read(&mut cursor, index)?;
            if last.is_some_and(|last| reference.id <= last) {
                return Err(ReferencesError::Order { index });
            }
            last = Some(reference.id);
        }
        match cursor.rest().len() {
            0 => Ok(Self(bytes)),
            rest => Err(ReferencesError::Trailing(rest)),
        }
    }

    /// The packs, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Reference<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.0);
        let count = cursor.u32().unwrap_or_default() as usize;
        (0..count).map_while(move |index| read(&mut cursor, index).ok())
    }

    /// The bytes of the references.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The references to these packs.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 they break: what is encoded are references that parse.
    pub fn encode(packs: &[Reference<'_>]) -> Result<Vec<u8>, ReferencesError> {
        let count = u32::try_from(packs.len()).map_err(|_| ReferencesError::Count(u32::MAX))?;
        let mut bytes = count.to_be_bytes().to_vec();
        for pack in packs {
            bytes.extend(pack.id);
            bytes.extend(pack.parts.to_be_bytes());
            match pack.needed {
                Needed::All => bytes.push(WHOLE),
                Needed::Bits(bits) => {
                    bytes.push(PARTIAL);
                    bytes.extend(bits);
                }
            }
        }
        References::parse(&bytes)?;
        Ok(bytes)
    }
}

fn read<'a>(cursor: &mut Cursor<'a>, index: usize) -> Result<Reference<'a>, ReferencesError> {
    let id = cursor.array().ok_or(ReferencesError::Cut)?;
    let parts = cursor.u32().ok_or(ReferencesError::Cut)?;
    if parts == 0 || u64::from(parts) > PARTS_MAX {
        return Err(ReferencesError::Parts { index, parts });
    }
    let needed = match cursor.u8().ok_or(ReferencesError::Cut)? {
        WHOLE => Needed::All,
        PARTIAL => Needed::Bits(read_bits(cursor, index, parts)?),
        whole => return Err(ReferencesError::Whole { index, whole }),
    };
    Ok(Reference { id, parts, needed })
}

/// FORMAT 7: "not all of them are 1 and not all 0, and spare bits are 0".
fn read_bits<'a>(
    cursor: &mut Cursor<'a>,
    index: usize,
    parts: u32,
) -> Result<&'a [u8], ReferencesError> {
    let bits = cursor.take(parts.div_ceil(8) as usize).ok_or(ReferencesError::Cut)?;
    let last = bits.last().copied().unwrap_or_default();
    // The bits of the last byte that stand for parts: all 8 where the parts fill it.
    let used = u8::MAX >> (bits.len() as u32 * 8 - parts);
    if last & !used != 0 {
        return Err(ReferencesError::SpareBits { index });
    }
    match bits.iter().map(|byte| byte.count_ones()).sum::<u32>() {
        0 => Err(ReferencesError::NoneNeeded { index }),
        needed if needed == parts => Err(ReferencesError::AllNeeded { index }),
        _ => Ok(bits),
    }
}

const fn byte_of(part: u32) -> usize {
    (part / 8) as usize
}

const fn bit(part: u32) -> u8 {
    1 << (part % 8)
}

/// All parts are needed.
const WHOLE: u8 = 1;
/// Bits say which parts are needed.
const PARTIAL: u8 = 0;
