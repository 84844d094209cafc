//! What a device may do in a vault (FORMAT 12).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of scopes. A scope grants something and takes nothing away: bits that are not known here
/// are left out of the set, since what a later program grants with them is nothing to this one.
///
/// A message has it as a u16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
pub struct Scopes(u16);

impl Scopes {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The scope to write blobs.
    pub const PUT: Self = Self(1);
    /// The scope to read blobs.
    pub const GET: Self = Self(2);
    /// The scope to list names.
    pub const LIST: Self = Self(4);
    /// The scope to delete versions.
    pub const DELETE: Self = Self(8);
    /// The scope to replace what other devices wrote.
    pub const REPLACE: Self = Self(16);
    /// The set of all scopes.
    pub const ALL: Self = Self(31);

    const NAMED: [(Self, &'static str); 5] = [
        (Self::PUT, "put"),
        (Self::GET, "get"),
        (Self::LIST, "list"),
        (Self::DELETE, "delete"),
        (Self::REPLACE, "replace"),
    ];

    /// The set of the known bits among `bits`.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The set as bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether this set contains all of `needed`.
    #[must_use]
    pub const fn allows(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// The union of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets: the certificate's scopes below an operator's ceiling.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The scope with this name; `None` when there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(_, n)| *n == name).map(|(scope, _)| *scope)
    }

    /// The names of the scopes in this set, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(scope, _)| self.allows(*scope)).map(|(_, name)| name)
    }
}

impl From<u16> for Scopes {
    fn from(bits: u16) -> Self {
        Self::from_bits(bits)
    }
}

impl From<Scopes> for u16 {
    fn from(scopes: Scopes) -> Self {
        scopes.0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FORMAT 12: "bit set: 0 put, 1 get, 2 list, 3 delete, 4 replace; other bits grant nothing".
    #[test]
    fn scopes_are_the_bits_of_the_page_and_no_others() {
        for (bit, name) in [(0, "put"), (1, "get"), (2, "list"), (3, "delete"), (4, "replace")] {
            let scope = Scopes::from_bits(1 << bit);
            assert_eq!((scope.to_string().as_str(), scope.bits()), (name, 1 << bit));
            assert_eq!(Scopes::named(name), Some(scope));
        }
        for bit in 5..16 {
            assert_eq!(Scopes::from_bits(1 << bit), Scopes::NONE, "{bit}");
        }
        assert_eq!(Scopes::from_bits(0xffff), Scopes::ALL);
        assert_eq!(Scopes::named("share"), None);
    }

    /// A ceiling takes away what it does not have, and gives nothing.
    #[test]
    fn scopes_intersect_to_what_both_have() {
        let certificate = Scopes::PUT.and(Scopes::REPLACE);
        let ceiling = Scopes::PUT.and(Scopes::GET);
        assert_eq!(certificate.intersect(ceiling), Scopes::PUT);
        assert!(!certificate.intersect(ceiling).allows(Scopes::REPLACE));
        assert!(!Scopes::PUT.allows(certificate));
        assert!(Scopes::ALL.allows(certificate));
    }
}
