//! What a key file is for, as an owner notes it of each certificate (FORMAT 10 and 13).

use zput_proto::vault::Scopes;

/// What a key file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It has the root: everything follows from that and the charter.
    Owner,
    /// It opens, and writes as itself.
    Member,
    /// It opens, and writes nothing that anybody accepts.
    Get,
    /// It writes as itself, and opens nothing.
    Put,
    /// It sees whether names that it knows exist, and opens nothing.
    List,
}

impl Role {
    /// The role with this number in a charter; `None` when there is none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Owner),
            1 => Some(Self::Member),
            2 => Some(Self::Get),
            3 => Some(Self::Put),
            4 => Some(Self::List),
            _ => None,
        }
    }

    /// Its number in a charter.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Owner => 0,
            Self::Member => 1,
            Self::Get => 2,
            Self::Put => 3,
            Self::List => 4,
        }
    }

    /// Whether its key file has a wrap key, and so an envelope in each charter. Owners open as
    /// well, with the root.
    #[must_use]
    pub const fn has_wrap_key(self) -> bool {
        matches!(self, Self::Member | Self::Get)
    }

    /// Whether a certificate with these scopes can be in a key file of this role.
    ///
    /// FORMAT 11: "`get` and `list` have no put bit and no writer key, the others have both".
    #[must_use]
    pub const fn fits(self, scopes: Scopes) -> bool {
        scopes.allows(Scopes::PUT) != matches!(self, Self::Get | Self::List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FORMAT 13: "0 owner, 1 member, 2 get, 3 put, 4 list"; FORMAT 11: wrap keys in the roles
    /// `member` and `get`, put bits in all but `get` and `list`.
    #[test]
    fn role_is_number_of_page_with_its_wrap_key_and_put_bit() {
        let table = [
            (0, Role::Owner, false, true),
            (1, Role::Member, true, true),
            (2, Role::Get, true, false),
            (3, Role::Put, false, true),
            (4, Role::List, false, false),
        ];
        for (number, role, has_wrap_key, puts) in table {
            assert_eq!((Role::from_u8(number), role.number()), (Some(role), number));
            assert_eq!(role.has_wrap_key(), has_wrap_key, "{role:?}");
            assert_eq!(role.fits(Scopes::ALL), puts, "{role:?}");
            assert_eq!(role.fits(Scopes::GET.and(Scopes::LIST)), !puts, "{role:?}");
        }
        assert_eq!(Role::from_u8(5), None);
    }
}
