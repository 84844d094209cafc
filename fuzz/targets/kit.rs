//! A recovery kit: what is read as words, as a line or as both says the same when it is written,
//! and every root comes back from its words.

use zput_proto::long_bech32;
use zput_seal::{
    keys::root::RootSecret,
    kit::{Kit, KitLine, Words},
};

pub(crate) fn run(input: &[u8]) {
    if let Ok(root) = input.try_into().map(RootSecret::from_bytes) {
        read_again(&Words::of(&root));
    }
    // A checksum that holds, which random bytes do not have.
    read_line(&long_bech32::encode("zputkit", input));
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    read_line(text);
    if let Ok(words) = Words::parse(text) {
        read_again(&words);
        for (typed, word) in text.split_whitespace().zip(words.iter()) {
            assert!(word.starts_with(&typed.to_ascii_lowercase()), "{typed} is read as {word}");
            assert!(typed.len() >= 4 || typed.len() == word.len(), "{typed} is read as {word}");
        }
    }
    if let Ok(kit) = Kit::parse(text) {
        let written = kit.to_secret_string();
        let again = Kit::parse(&written).map(|again| again.to_secret_string());
        assert_eq!(again, Ok(written));
    }
}

fn read_again(words: &Words) {
    let again = Words::parse(&words.to_secret_string()).map(|again| again.root());
    assert_eq!(again, Ok(words.root()));
}

fn read_line(text: &str) {
    if let Ok(line) = text.parse::<KitLine>() {
        assert_eq!(line.to_string(), text);
    }
}
