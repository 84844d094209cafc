//! The bounds of values that no type keeps, before sending and after receiving.

use super::{
    head::Head,
    object::{How, Info, VersionInfo},
};
use crate::{
    limits::{FRONT_MAX_BYTES, HEADER_MAX_BYTES, SLICE_MAX_BYTES, TAIL_FIELD_MAX_BYTES},
    message::{ClaimedSlice, Kind, OutOfBounds},
};

/// PROTOCOL 10: a slice has "1 to 16,842,752 bytes".
pub(super) fn check_slice(length: u32) -> Result<(), OutOfBounds> {
    if (1..=SLICE_MAX_BYTES).contains(&length) { Ok(()) } else { Err(OutOfBounds::Slice(length)) }
}

/// PROTOCOL 5: "list of 1 to 64". That there are no more is looked at as they are read.
pub(super) fn check_claim(slices: &[ClaimedSlice]) -> Result<(), OutOfBounds> {
    if slices.is_empty() {
        return Err(OutOfBounds::Claim(0));
    }
    slices.iter().try_for_each(|slice| check_slice(slice.length))
}

/// PROTOCOL 6: "A `limit` is at least 1."
pub(super) fn check_page_limit(limit: u32) -> Result<(), OutOfBounds> {
    if limit == 0 { Err(OutOfBounds::PageLimit) } else { Ok(()) }
}

/// PROTOCOL 5: "For a sealed object `header` is the header that the client means to commit […]; for
/// a plain one it is absent."
pub(super) fn check_begin(kind: Kind, header: Option<&[u8]>) -> Result<(), OutOfBounds> {
    if header.is_some() == (kind == Kind::Sealed) {
        Ok(())
    } else {
        Err(OutOfBounds::HeaderMisplaced)
    }
}

/// PROTOCOL 6: "Of a plain object front_length, header_length and tail_length are 0", and it has no
/// head. Of a sealed one they are those that a client makes room for.
pub(super) fn check_info(info: &Info, head: Option<&Head>) -> Result<(), OutOfBounds> {
    let lengths = [info.front_length, info.header_length, info.tail_length];
    let most = match info.kind {
        Kind::Sealed => [FRONT_MAX_BYTES, HEADER_MAX_BYTES, TAIL_FIELD_MAX_BYTES],
        Kind::Plain => [0; 3],
    };
    if lengths.into_iter().zip(most).any(|(length, most)| length as usize > most) {
        return Err(OutOfBounds::Lengths);
    }
    if head.is_some() && info.kind == Kind::Plain {
        return Err(OutOfBounds::HeadMisplaced);
    }
    Ok(())
}

/// PROTOCOL 6: "A version that is `Corrupt` has the lengths 0 and no head."
pub(super) fn check_version(version: &VersionInfo) -> Result<(), OutOfBounds> {
    let VersionInfo { info, end, head, .. } = version;
    check_info(info, head.as_ref())?;
    if end.is_some_and(|end| end.how == How::Corrupt) {
        let Info { version: _, kind: _, body_length, front_length, header_length, tail_length } =
            *info;
        if body_length != 0 || [front_length, header_length, tail_length] != [0; 3] {
            return Err(OutOfBounds::Lengths);
        }
        if head.is_some() {
            return Err(OutOfBounds::HeadMisplaced);
        }
    }
    Ok(())
}
