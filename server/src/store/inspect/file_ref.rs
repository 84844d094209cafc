//! All files of a store, in an order that a later run can go on in.

use std::{collections::BTreeSet, fmt, str::FromStr};

use zput_common::proto::message::Version;

use crate::store::{
    Store,
    error::StoreError,
    layout::{ObjectName, Shard, Shelf},
    shard::LockedShard,
};

/// A file's place: shard by shard, in each shelf by shelf, in each name by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    shard: u8,
    /// Into [`Shelf::ALL`].
    shelf: usize,
    file_name: String,
}

/// What a file on a shelf is called as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The current version of this object.
    Current(ObjectName),
    /// This version of it.
    Version(ObjectName, Version),
}

impl Spot {
    /// The place before all files of a shard.
    pub(super) const fn before(shard: Shard) -> Self {
        Self { shard: shard.0, shelf: 0, file_name: String::new() }
    }

    /// Its shard.
    pub(super) const fn shard(&self) -> Shard {
        Shard(self.shard)
    }

    /// Its shelf.
    pub(super) const fn shelf(&self) -> Shelf {
        Shelf::ALL[self.shelf]
    }

    /// Its name there.
    pub(super) fn file_name(&self) -> &str {
        &self.file_name
    }

    /// Its path from the store's directory.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.shard().on(self.shelf()), self.file_name)
    }

    /// What its name says, if it is a name that a store gives in this place.
    pub(super) fn named(&self) -> Option<Named> {
        let named = match self.shelf() {
            Shelf::Objects => Named::Current(ObjectName::parse(&self.file_name)?),
            Shelf::History | Shelf::Trash => {
                let (name, _) = self.file_name.split_once('.')?;
                let name = ObjectName::parse(name)?;
                Named::Version(name, name.parse_version(&self.file_name)?)
            }
        };
        let (Named::Current(name) | Named::Version(name, _)) = named;
        (name.shard() == self.shard()).then_some(named)
    }
}

/// As a scrub writes it down: `ab/history/<file name>`.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.shard(), self.shelf().name(), self.file_name)
    }
}

impl FromStr for Spot {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(());
        let (shard, shelf, file_name) = (part()?, part()?, part()?.to_owned());
        let shard = Shard::all().find(|known| known.to_string() == shard).ok_or(())?.0;
        let shelf = Shelf::ALL.iter().position(|known| known.name() == shelf).ok_or(())?;
        Ok(Self { shard, shelf, file_name })
    }
}

impl Store {
    /// The files of a shard that come after `after`, in order.
    pub(super) fn spots(
        &self,
        shard: Shard,
        after: Option<&Spot>,
    ) -> Result<BTreeSet<Spot>, StoreError> {
        // Under the lock: nothing moves from one shelf to another, or within a directory, while they are read.
        let locked = LockedShard::shared(self.syncs(), shard)?;
        let mut spots = BTreeSet::new();
        for (at, shelf) in Shelf::ALL.into_iter().enumerate() {
            for file_name in locked.names(shelf)? {
                let spot = Spot { shard: shard.0, shelf: at, file_name: file_name? };
                if after.is_none_or(|after| spot > *after) {
                    spots.insert(spot);
                }
            }
        }
        Ok(spots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256("abc") of FIPS 180-2, B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn spot(text: &str) -> Spot {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_reads_as_it_is_written_down() {
        let texts = [
            format!("ba/objects/{ABC}"),
            format!("ba/history/{ABC}.00000000000000001234"),
            "ba/trash/a/strange/name".to_owned(),
            "bb/objects/".to_owned(),
        ];
        for text in &texts {
            assert_eq!(spot(text).to_string(), *text);
        }
        assert!(texts.windows(2).all(|pair| spot(&pair[0]) < spot(&pair[1])), "they are in order");
        assert_eq!(spot(&texts[1]).path(), format!("history/ba/{ABC}.00000000000000001234"));
        for text in ["", "ba", "ba/objects", "BA/objects/x", "b/objects/x", "ba/staging/x"] {
            assert_eq!(text.parse::<Spot>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_name_belongs_to_its_shelf_and_shard() {
        let name = ObjectName::parse(ABC).unwrap();
        let named = |text: &str| spot(text).named();
        let version = format!("{ABC}.00000000000000001234");
        assert_eq!(named(&format!("ba/objects/{ABC}")), Some(Named::Current(name)));
        let expected = Some(Named::Version(name, Version(1234)));
        assert_eq!(named(&format!("ba/history/{version}")), expected);
        assert_eq!(named(&format!("ba/trash/{version}")), expected);
        for stray in [
            format!("bb/objects/{ABC}"),
            format!("ba/objects/{version}"),
            format!("ba/trash/{ABC}"),
            format!("ba/history/{ABC}.1234"),
            "ba/objects/.tmp-1".to_owned(),
        ] {
            assert_eq!(named(&stray), None, "{stray}");
        }
    }
}
