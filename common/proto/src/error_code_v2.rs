//! The codes by which a failure is reported to the peer (docs/next/PROTOCOL 7).

/// The codes of PROTOCOL 7. Exhaustive: a client has to decide what a caller can do about each. A
/// code of a newer server is `None` of [`from_u8`](Self::from_u8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The peer broke the protocol or sent an object that breaks the format.
    Malformed = 1,
    /// Scope missing; invite unknown, spent or expired; no grant to found.
    Denied = 2,
    /// No such object, version, mount or vault, or none that this peer may know of.
    NotFound = 3,
    /// A condition does not hold.
    Exists = 4,
    /// Disk full or quota reached.
    Full = 5,
    /// A limit is reached, or another connection is at work on it; try again.
    Busy = 6,
    /// A slice or a head does not match its digest: it was changed on its way.
    Digest = 7,
    /// A section lies outside the object.
    Range = 8,
    /// The object is of the other kind, or this listener does not carry that kind.
    Kind = 9,
    /// No upload is open (any more), or one is open already.
    State = 10,
    /// The server failed.
    Internal = 11,
    /// The peers have no protocol version in common.
    Version = 12,
    /// The peers have no mode in common.
    Mode = 13,
    /// The store takes no writes until it has been verified.
    Suspect = 14,
    /// What is or was there has as high an order; seal again.
    Older = 15,
    /// The store cannot be written to: it is read-only, or the server may not write there.
    ReadOnly = 16,
    /// Something is stored and cannot be read: it is damaged, or its disk or its permissions fail.
    Unreadable = 17,
    /// The generation is more than 24 hours ahead of the server's clock.
    Future = 18,
    /// Another charter is in force than the peer's.
    Stale = 19,
    /// The name belongs to another writer, and the device may not replace its versions.
    Taken = 20,
    /// This edge has an older state than the client has seen, and cannot ask; try again.
    Behind = 21,
}

impl ErrorCode {
    const ALL: [Self; 21] = [
        Self::Malformed,
        Self::Denied,
        Self::NotFound,
        Self::Exists,
        Self::Full,
        Self::Busy,
        Self::Digest,
        Self::Range,
        Self::Kind,
        Self::State,
        Self::Internal,
        Self::Version,
        Self::Mode,
        Self::Suspect,
        Self::Older,
        Self::ReadOnly,
        Self::Unreadable,
        Self::Future,
        Self::Stale,
        Self::Taken,
        Self::Behind,
    ];

    /// The code with this number. Those of PROTOCOL 8 are not known while their features are not.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Error codes have the numbers of PROTOCOL 7. Those of 22 to 27 are reserved, so not known.
    #[test]
    fn error_codes_have_the_numbers_of_the_page() {
        let names = [
            "Malformed",
            "Denied",
            "NotFound",
            "Exists",
            "Full",
            "Busy",
            "Digest",
            "Range",
            "Kind",
            "State",
            "Internal",
            "Version",
            "Mode",
            "Suspect",
            "Older",
            "ReadOnly",
            "Unreadable",
            "Future",
            "Stale",
            "Taken",
            "Behind",
        ];
        for (number, name) in (1..).zip(names) {
            let code = ErrorCode::from_u8(number);
            assert_eq!(code.map(|code| format!("{code:?}")), Some(name.to_owned()));
        }
        for number in (22..=255).chain([0]) {
            assert_eq!(ErrorCode::from_u8(number), None, "{number}");
        }
    }
}
