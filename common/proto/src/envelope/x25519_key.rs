//! X25519 public keys as byte strings (RFC 7748): comparisons, no arithmetic on the curve.

/// Bytes of an X25519 public key.
pub const POINT_BYTES: usize = 32;

/// Whether X25519 with this point gives zeros under every private key.
///
/// Seven points do, once the highest bit is masked as RFC 7748 says.
#[must_use]
pub fn is_low_order(point: &[u8; POINT_BYTES]) -> bool {
    let mut masked = *point;
    masked[POINT_BYTES - 1] &= 0x7f;
    LOW_ORDER.contains(&masked)
}

/// Whether the point is written as X25519 writes it, below the order of the field.
///
/// The recipient is part of the wrap key's salt, so a blob sealed for another spelling of a point
/// could not be opened by the owner of its private key.
#[must_use]
pub fn is_canonical(point: &[u8; POINT_BYTES]) -> bool {
    point.iter().rev().lt(FIELD_ORDER.iter().rev())
}

/// The order of the field, 2^255 - 19, little-endian.
const FIELD_ORDER: [u8; POINT_BYTES] = {
    let mut order = [0xff; POINT_BYTES];
    order[0] = 0xed;
    order[31] = 0x7f;
    order
};

/// The numbers 0 and 1; the two points of order 8; -1; then 0 and 1 again, written as the order of
/// the field and one more.
const LOW_ORDER: [[u8; POINT_BYTES]; 7] = [
    [0; POINT_BYTES],
    {
        let mut one = [0; POINT_BYTES];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    beside_the_order(0xec),
    FIELD_ORDER,
    beside_the_order(0xee),
];

/// The order of the field with another lowest byte.
const fn beside_the_order(lowest: u8) -> [u8; POINT_BYTES] {
    let mut number = FIELD_ORDER;
    number[0] = lowest;
    number
}
