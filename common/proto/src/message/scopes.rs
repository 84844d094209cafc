//! What a device may do on a server (PROTOCOL 5).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The set of requests that a device may make.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(u8);

impl Scopes {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The scope of Begin, Slice, Commit and Abort.
    pub const PUT: Self = Self(1);
    /// The scope of Get, Stat and Versions.
    pub const GET: Self = Self(2);
    /// The scope of List.
    pub const LIST: Self = Self(4);
    /// The scope of Delete and Restore.
    pub const DELETE: Self = Self(8);
    /// The set of all scopes.
    pub const ALL: Self = Self(15);

    const NAMED: [(Self, &'static str); 4] =
        [(Self::PUT, "put"), (Self::GET, "get"), (Self::LIST, "list"), (Self::DELETE, "delete")];

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
