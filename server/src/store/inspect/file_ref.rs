//! References to the files of a store, in an order in which a later run can continue.

use std::{collections::BTreeSet, fmt, str::FromStr};

use zput_proto::message::Version;

use crate::store::{
    Store,
    error::StoreError,
    layout::{Area, ObjectName, Shard},
    shard_dirs::ShardDirs,
};

/// The position of a file. Files are ordered by shard, then by area, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileRef {
    shard: u8,
    /// Index into [`Area::ALL`].
    area: usize,
    file_name: String,
}

/// What the name of an object file says about the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParsedName {
    /// The current version of this object.
    Current(ObjectName),
    /// This version of this object.
    Version(ObjectName, Version),
}

impl FileRef {
    /// The position before all files of a shard.
    pub(super) const fn before(shard: Shard) -> Self {
        Self { shard: shard.0, area: 0, file_name: String::new() }
    }

    /// The shard that the file is in.
    pub(super) const fn shard(&self) -> Shard {
        Shard(self.shard)
    }

    /// The area that the file is in.
    pub(super) const fn area(&self) -> Area {
        Area::ALL[self.area]
    }

    /// The file's name in its directory.
    pub(super) fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The file's path from the store's directory.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.shard().dir_in(self.area()), self.file_name)
    }

    /// Parses the file's name; `None` if no store gives such a name in this place.
    pub(super) fn parse_name(&self) -> Option<ParsedName> {
        let parsed = match self.area() {
            Area::Objects => ParsedName::Current(ObjectName::parse(&self.file_name)?),
            Area::History | Area::Trash => {
                let (name, _) = self.file_name.split_once('.')?;
                let name = ObjectName::parse(name)?;
                ParsedName::Version(name, name.parse_version(&self.file_name)?)
            }
        };
        let (ParsedName::Current(name) | ParsedName::Version(name, _)) = parsed;
        (name.shard() == self.shard()).then_some(parsed)
    }
}

/// The format in `scrub.toml`: `ab/history/<file name>`.
impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.shard(), self.area().name(), self.file_name)
    }
}

impl FromStr for FileRef {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(());
        let (shard, area, file_name) = (part()?, part()?, part()?.to_owned());
        let shard = Shard::all().find(|known| known.to_string() == shard).ok_or(())?.0;
        let area = Area::ALL.iter().position(|known| known.name() == area).ok_or(())?;
        Ok(Self { shard, area, file_name })
    }
}

impl Store {
    /// The files of a shard that come after `after`, in order; and whether all are among them that
    /// were there throughout. Versions that move at each look may be missing.
    pub(super) fn files(
        &self,
        shard: Shard,
        after: Option<&FileRef>,
    ) -> Result<(BTreeSet<FileRef>, bool), StoreError> {
        let dirs = ShardDirs::open(self.fsync(), shard)?;
        let mut files = BTreeSet::new();
        let is_complete = dirs.read_all_lasting(|| {
            for (at, area) in Area::ALL.into_iter().enumerate() {
                for file_name in dirs.names(area)? {
                    let file_ref = FileRef { shard: shard.0, area: at, file_name: file_name? };
                    if after.is_none_or(|after| file_ref > *after) {
                        files.insert(file_ref);
                    }
                }
            }
            Ok(())
        })?;
        Ok((files, is_complete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256("abc") of FIPS 180-2, B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn file_ref(text: &str) -> FileRef {
        text.parse().unwrap()
    }

    /// FileRef prints the text that it was parsed from, and its order is the scrub's order.
    #[test]
    fn file_ref_parses_and_prints_same_text_in_order() {
        let texts = [
            format!("ba/objects/{ABC}"),
            format!("ba/history/{ABC}.00000000000000001234"),
            "ba/trash/a/strange/name".to_owned(),
            "bb/objects/".to_owned(),
        ];
        for text in &texts {
            assert_eq!(file_ref(text).to_string(), *text);
        }
        assert!(
            texts.windows(2).all(|pair| file_ref(&pair[0]) < file_ref(&pair[1])),
            "they are in order"
        );
        assert_eq!(file_ref(&texts[1]).path(), format!("history/ba/{ABC}.00000000000000001234"));
        for text in ["", "ba", "ba/objects", "BA/objects/x", "b/objects/x", "ba/staging/x"] {
            assert_eq!(text.parse::<FileRef>(), Err(()), "{text}");
        }
    }

    /// FileRef accepts an object's name only in its own area and shard.
    #[test]
    fn file_ref_accepts_name_only_in_its_area_and_shard() {
        let name = ObjectName::parse(ABC).unwrap();
        let parsed = |text: &str| file_ref(text).parse_name();
        let version = format!("{ABC}.00000000000000001234");
        assert_eq!(parsed(&format!("ba/objects/{ABC}")), Some(ParsedName::Current(name)));
        let expected = Some(ParsedName::Version(name, Version(1234)));
        assert_eq!(parsed(&format!("ba/history/{version}")), expected);
        assert_eq!(parsed(&format!("ba/trash/{version}")), expected);
        for stray in [
            format!("bb/objects/{ABC}"),
            format!("ba/objects/{version}"),
            format!("ba/trash/{ABC}"),
            format!("ba/history/{ABC}.1234"),
            "ba/objects/.tmp-1".to_owned(),
        ] {
            assert_eq!(parsed(&stray), None, "{stray}");
        }
    }
}
