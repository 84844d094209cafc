//! What a store is, in words: `zput-store.toml` (STORE, "Features").
//!
//! A version that adds something to a store writes its word into one of two arrays first. So a
//! version that does not know the word keeps its hands off, and no new format number is needed.

use serde::Deserialize;

use super::{
    error::StoreError,
    layout::{FORMAT, STORE_FILE},
};

/// The versions of an object lie in areas: `objects`, `history` and `trash`. Each store of this
/// version has this word, because a later version lays stores out otherwise, under the same format
/// number.
const AREAS: &str = "areas";

/// Digits of a store's id.
const ID_DIGITS: usize = 32;

/// What `zput-store.toml` has, apart from fields that are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Features {
    /// Random lower-case hex digits, made with the store.
    id: String,
    incompatible: Vec<String>,
    read_only_compatible: Vec<String>,
}

/// How far this version may open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// To read and to write.
    Full,
    /// To read only, because of this word.
    ReadOnly(String),
    /// Not at all, because of this word.
    Refused(String),
}

impl Features {
    /// The text of the file of a new store.
    pub(super) fn of_new_store(id: &[u8; 16]) -> String {
        let id = hex::encode(id);
        format!(
            "# This directory is a zput store. docs/STORE.md says what is in it.\n\
             format = {FORMAT}\n\
             id = \"{id}\"\n\
             incompatible = [\"{AREAS}\"]\n\
             read_only_compatible = []\n"
        )
    }

    /// Parses the text of the file, and says how far the store may be opened.
    ///
    /// # Errors
    /// [`StoreError::OlderFormat`] and [`StoreError::NewerFormat`]; [`StoreError::Damaged`];
    /// [`StoreError::MissingFeature`].
    pub(super) fn read(text: &str) -> Result<Opening, StoreError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let damaged = || StoreError::Damaged(STORE_FILE);
        // The other fields are those of this format.
        let Format { format } = toml::from_str(text).map_err(|_| damaged())?;
        match format {
            FORMAT => {}
            0 => return Err(damaged()),
            found if found < FORMAT => return Err(StoreError::OlderFormat { found }),
            found => return Err(StoreError::NewerFormat { found }),
        }
        let features: Self = toml::from_str(text).map_err(|_| damaged())?;
        features.opening()
    }

    fn opening(self) -> Result<Opening, StoreError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.id.len() != ID_DIGITS || !self.id.bytes().all(is_digit) {
            return Err(StoreError::Damaged(STORE_FILE));
        }
        if let Some(unknown) = self.incompatible.iter().find(|word| *word != AREAS) {
            return Ok(Opening::Refused(unknown.clone()));
        }
        if self.incompatible.is_empty() {
            return Err(StoreError::MissingFeature(AREAS));
        }
        Ok(match self.read_only_compatible.into_iter().next() {
            // This version knows no word of these.
            Some(unknown) => Opening::ReadOnly(unknown),
            None => Opening::Full,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn text(incompatible: &str, read_only_compatible: &str) -> String {
        format!(
            "format = 2\nid = \"{ID}\"\nincompatible = {incompatible}\n\
             read_only_compatible = {read_only_compatible}\n"
        )
    }

    /// Features of a new store have the documented fields.
    #[test]
    fn features_of_new_store_are_documented_fields() {
        let id = std::array::from_fn(|n| n as u8 * 0x11);
        let written = Features::of_new_store(&id);
        let fields: Vec<_> = written.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            fields,
            [
                "format = 2",
                "id = \"00112233445566778899aabbccddeeff\"",
                "incompatible = [\"areas\"]",
                "read_only_compatible = []",
            ]
        );
        assert_eq!(Features::read(&written).unwrap(), Opening::Full);
    }

    /// Features name the first word that is not known; the stricter array decides.
    #[test]
    fn features_name_unknown_word() {
        let read = |incompatible, read_only_compatible| {
            Features::read(&text(incompatible, read_only_compatible)).unwrap()
        };
        assert_eq!(read("[\"areas\"]", "[]"), Opening::Full);
        let refused = Opening::Refused("trailer-1".to_owned());
        assert_eq!(read("[\"areas\", \"trailer-1\"]", "[]"), refused);
        assert_eq!(read("[\"trailer-1\"]", "[\"quota\"]"), refused);
        assert_eq!(read("[\"areas\"]", "[\"quota\"]"), Opening::ReadOnly("quota".to_owned()));
        // Fields that a later version adds are ignored; its words are what counts.
        let more = text("[\"areas\"]", "[]") + "shards = 4096\n[more]\nof = \"it\"\n";
        assert_eq!(Features::read(&more).unwrap(), Opening::Full);
    }

    /// A file that says nothing of its format, or lacks what its format has, is damaged.
    #[test]
    fn features_refuse_damaged_file() {
        let whole = text("[\"areas\"]", "[]");
        let without = |line: usize| {
            let lines = whole.lines().enumerate().filter(|(at, _)| *at != line);
            lines.map(|(_, line)| format!("{line}\n")).collect::<String>()
        };
        let id = |id: &str| whole.replace(ID, id);
        for damage in [
            String::new(),
            "\0".to_owned(),
            whole.replace("format = 2", "format = 0"),
            whole.replace("format = 2", "format = \"2\""),
            without(0),
            without(1),
            without(2),
            without(3),
            id(&ID[1..]),
            id(&ID.to_uppercase()),
            text("\"areas\"", "[]"),
            text("[\"areas\"]", "[7]"),
        ] {
            let read = Features::read(&damage);
            assert!(matches!(read, Err(StoreError::Damaged("zput-store.toml"))), "{damage}");
        }
        let without_areas = Features::read(&text("[]", "[]"));
        assert!(matches!(without_areas, Err(StoreError::MissingFeature("areas"))));
    }
}
