//! The golden frames and hellos of protocol 2, which an independent script made from the protocol's
//! page (`tests/interop/messages-v2.mjs`).

use std::{collections::BTreeMap, fs, path::PathBuf};

/// The lines of this kind: names and bytes.
pub(crate) fn golden(what: &str) -> BTreeMap<String, Vec<u8>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(file.join("../seal/tests/data/messages-v2.txt")).unwrap();
    let start = format!("{what} ");
    let mut lines = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(&start)) {
        let (name, words) = line.split_once(": ").unwrap();
        let bytes: Vec<u8> = words.split(' ').flat_map(word).collect();
        assert_eq!(lines.insert(name.to_owned(), bytes), None, "{what} {name} is there twice");
    }
    assert!(!lines.is_empty(), "there is no {what}");
    lines
}

/// Hex digits, or `(hex digits)*count`.
fn word(word: &str) -> Vec<u8> {
    match word.split_once(")*") {
        Some((unit, count)) => {
            let unit = hex::decode(unit.strip_prefix('(').unwrap()).unwrap();
            unit.repeat(count.parse().unwrap())
        }
        None => hex::decode(word).unwrap(),
    }
}
