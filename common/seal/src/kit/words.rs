//! A root as 24 words of BIP-39.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys::root::RootSecret;

/// How many words a root has.
const COUNT: usize = 24;

/// The recovery words of a root. They are the root itself: wiped on drop, and never shown by
/// `Debug`.
#[derive(Clone)]
pub struct Words(Numbers);

/// The places of the words in the list, each below 2,048.
type Numbers = Zeroizing<[u16; COUNT]>;

/// Why a text is not the words of a root.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WordsError {
    /// A word is not in the list, and is not the beginning of one by four letters or more.
    #[error("word {number} is not in the list of recovery words: {}", word.escape_debug())]
    NotInList {
        /// Which word it is, from 1.
        number: usize,
        /// The word as it was typed, or the start of it.
        word: String,
    },
    /// There are more or fewer than 24.
    #[error("recovery words are {COUNT}, and here are {0}")]
    Count(usize),
    /// The last 8 bits are not those of the root's hash.
    #[error("the recovery words do not fit together: one is wrong, or two changed places")]
    Checksum,
}

impl Words {
    /// The words of `root`.
    ///
    /// FORMAT 16: "the 256 bits of the root, then the first 8 bits of SHA-256 of the root, cut into
    /// 24 numbers of 11 bits, the highest bit first".
    #[must_use]
    pub fn of(root: &RootSecret) -> Self {
        let bits = Bits::of(root);
        let mut numbers = Numbers::new([0; COUNT]);
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = (index * WORD_BITS..(index + 1) * WORD_BITS)
                .fold(0, |number, at| number << 1 | u16::from(bits.get(at)));
        }
        Self(numbers)
    }

    /// Reads words in any case, separated by white space. A word may be cut behind its fourth
    /// letter, since the first four are no other word's.
    ///
    /// # Errors
    /// Says which word is not in the list, how many there are, or that they do not fit together.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let mut numbers = Numbers::new([0; COUNT]);
        for ((index, word), number) in text.split_whitespace().enumerate().zip(numbers.iter_mut()) {
            let start = || word.chars().take(SHOWN_LETTERS).collect();
            *number = number_of(word)
                .ok_or_else(|| WordsError::NotInList { number: index + 1, word: start() })?;
        }
        let count = text.split_whitespace().count();
        if count != COUNT {
            return Err(WordsError::Count(count));
        }
        let words = Self(numbers);
        let (typed, right) = (words.bits(), Bits::of(&words.root()));
        if bool::from(typed.checksum().ct_eq(&right.checksum())) {
            Ok(words)
        } else {
            Err(WordsError::Checksum)
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> RootSecret {
        let bits = self.bits();
        let mut root = Zeroizing::new([0; ROOT_BYTES]);
        root.iter_mut().zip(bits.0.iter()).for_each(|(byte, bits)| *byte = *bits);
        RootSecret::from_bytes(*root)
    }

    /// The words, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter_map(|number| LIST.get(usize::from(*number)).copied())
    }

    /// The words in lower case with one space between, which are the secret itself.
    #[must_use]
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        // The whole capacity at once, since a string that grows would leave copies in memory.
        let mut text = Zeroizing::new(String::with_capacity(COUNT * (LONGEST_WORD + 1)));
        for word in self.iter() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    fn bits(&self) -> Bits {
        let mut bits = Bits(Zeroizing::new([0; BITS_BYTES]));
        for (index, number) in self.0.iter().enumerate() {
            for bit in 0..WORD_BITS {
                if number >> (WORD_BITS - 1 - bit) & 1 == 1 {
                    bits.set(index * WORD_BITS + bit);
                }
            }
        }
        bits
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words([secret])")
    }
}

/// A root and the first byte of its SHA-256.
struct Bits(Zeroizing<[u8; BITS_BYTES]>);

impl Bits {
    fn of(root: &RootSecret) -> Self {
        let mut bits = Zeroizing::new([0; BITS_BYTES]);
        let hash = Sha256::digest(root.as_bytes());
        let pieces = root.as_bytes().iter().chain(hash.iter());
        bits.iter_mut().zip(pieces).for_each(|(bits, byte)| *bits = *byte);
        Self(bits)
    }

    /// The bit at a place from the highest bit of the first byte.
    fn get(&self, at: usize) -> bool {
        self.0.get(at / 8).is_some_and(|byte| byte << (at % 8) & 0x80 != 0)
    }

    fn set(&mut self, at: usize) {
        if let Some(byte) = self.0.get_mut(at / 8) {
            *byte |= 0x80 >> (at % 8);
        }
    }

    fn checksum(&self) -> u8 {
        let [.., checksum] = *self.0;
        checksum
    }
}

/// The place in the list of a word, or of one that was cut behind its fourth letter or a later one.
fn number_of(word: &str) -> Option<u16> {
    let typed = || word.bytes().map(|byte| byte.to_ascii_lowercase());
    let at = match LIST.binary_search_by(|listed| listed.bytes().cmp(typed())) {
        Ok(at) => at,
        // What a word begins with sorts before that word, and before no other one in between.
        Err(at) => {
            let listed = LIST.get(at)?;
            let is_start = listed.len() > word.len() && listed.bytes().zip(typed()).all(same);
            if word.len() < UNIQUE_LETTERS || !is_start {
                return None;
            }
            at
        }
    };
    u16::try_from(at).ok()
}

fn same((one, other): (u8, u8)) -> bool {
    one == other
}

/// Bits of a word's place in the list.
const WORD_BITS: usize = 11;
const ROOT_BYTES: usize = 32;
const BITS_BYTES: usize = COUNT * WORD_BITS / 8;
/// By so many letters a word is told from all others (BIP-39, "Wordlist").
const UNIQUE_LETTERS: usize = 4;
const LONGEST_WORD: usize = 8;
/// How many characters of a word that is not in the list an error repeats.
const SHOWN_LETTERS: usize = 16;

/// The English list of BIP-39, in its order, which is that of the alphabet.
static LIST: [&str; 1 << WORD_BITS] = lines(include_str!("english.txt"));

/// The lines of `text`, which are exactly `N`.
const fn lines<const N: usize>(text: &'static str) -> [&'static str; N] {
    let mut lines = [""; N];
    let (mut rest, mut count, mut length) = (text, 0, 0);
    while length < rest.len() {
        if rest.as_bytes()[length] == b'\n' {
            let (line, behind) = rest.split_at(length);
            lines[count] = line;
            (rest, count, length) = (behind.split_at(1).1, count + 1, 0);
        } else {
            length += 1;
        }
    }
    assert!(count == N && rest.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::GoldenFile;

    /// The vectors of 256 bits of BIP-39's reference implementation (trezor/python-mnemonic,
    /// `vectors.json`).
    const VECTORS: [(&str, &str); 8] = [
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon art",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank year wave \
             sausage worth useful legal winner thank year wave sausage worth title",
        ),
        (
            "8080808080808080808080808080808080808080808080808080808080808080",
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd \
             amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless",
        ),
        (
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo \
             zoo zoo vote",
        ),
        (
            "00ac97c48106f0aeb8ba061e0250a559b3251dc35854e694780ba51d53a50120",
            "absent gorilla van acoustic humor firm title dolphin bulk barely citizen recall crane \
             moment aspect appear track phrase actual enforce steel spoon afraid benefit",
        ),
        (
            "3edc83b60740d77af3afa2fcb82c2f1bc541ee4e2518ddef4996d32453f54a3c",
            "disagree tomato unique attend aspect runway solid violin witness scrap armed daring \
             favorite warm decade perfect target kid grant play early wide cigar night",
        ),
        (
            "89bb4bc5555992cdaf3444c5e7ca5a6e9f27efab894f1990bae41be8b2a26ea4",
            "meadow surge vanish primary odor grocery rubber mass shine dinner notable tag venue \
             water purchase clarify book magic ribbon daughter menu eye ritual orchard",
        ),
        (
            "911fec0fbd88029f6fa99164896c18d898c9232af18bdcca3e42d53b86493104",
            "much youth advance kitchen lens exile salt cram goose enter alert raise milk muscle \
             profit cousin system faint mouse price reveal cause series long",
        ),
    ];

    fn root(hex_digits: &str) -> RootSecret {
        RootSecret::from_bytes(hex::decode(hex_digits).unwrap().try_into().unwrap())
    }

    /// FORMAT 16: "the file `english.txt` of BIP-39, 13,116 bytes, SHA-256 …"; and what the lookup
    /// takes for granted of it.
    #[test]
    fn word_list_is_that_of_bip39() {
        let file = include_bytes!("english.txt");
        assert_eq!(file.len(), 13_116);
        assert_eq!(
            hex::encode(Sha256::digest(file)),
            "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
        );
        assert_eq!((LIST[0], LIST[2047]), ("abandon", "zoo"));
        for word in LIST {
            assert!((3..=LONGEST_WORD).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
        }
        assert!(LIST.is_sorted());
        let start = |word: &'static str| &word[..word.len().min(UNIQUE_LETTERS)];
        for pair in LIST.windows(2) {
            assert_ne!(start(pair[0]), start(pair[1]));
        }
    }

    /// Roots become the words of BIP-39's own vectors, and these words the roots.
    #[test]
    fn words_pass_bip39_vectors() {
        for (entropy, words) in VECTORS {
            assert_eq!(*Words::of(&root(entropy)).to_secret_string(), words);
            assert_eq!(Words::parse(words).unwrap().root(), root(entropy));
        }
    }

    /// The words of the golden file, which another implementation made.
    #[test]
    fn words_are_those_of_golden_file() {
        let golden = GoldenFile::kit();
        let counting = RootSecret::from_bytes(std::array::from_fn(|at| at as u8));
        for (root, name) in [
            (counting, "words_counting.text"),
            (RootSecret::from_bytes([0; 32]), "words_zeros.text"),
            (RootSecret::from_bytes([0xff; 32]), "words_ff.text"),
        ] {
            assert_eq!(*Words::of(&root).to_secret_string(), golden.text(name));
            assert_eq!(Words::parse(golden.text(name)).unwrap().root(), root);
        }
    }

    /// Words are read in any case, between any white space, and cut behind the fourth letter.
    #[test]
    fn words_are_read_as_people_type_them() {
        let (entropy, words) = VECTORS[5];
        let cut = |letters: usize| {
            let cut = words.split(' ').map(|word| &word[..word.len().min(letters)]);
            cut.collect::<Vec<_>>().join(" ")
        };
        for typed in [
            words.to_uppercase(),
            words.replacen("attend", "aTTend", 1),
            format!("\r\n {}\u{a0}\n", words.replace(' ', "\t\n")),
            cut(4),
            cut(5).to_uppercase(),
        ] {
            assert_eq!(Words::parse(&typed).unwrap().root(), root(entropy), "{typed}");
        }
        assert!(matches!(Words::parse(&cut(3)), Err(WordsError::NotInList { .. })));
    }

    /// A word that is not in the list is named by its number and its letters, at most 16 of them.
    #[test]
    fn words_error_names_word_that_is_not_in_list() {
        let words: Vec<&str> = VECTORS[5].1.split(' ').collect();
        for (number, wrong, shown) in [
            (1, "disagrees", "disagrees"),
            (2, "toma1o", "toma1o"),
            (18, "ki", "ki"),
            (18, "kids", "kids"),
            (24, "nig", "nig"),
            (24, "zzzz", "zzzz"),
            (7, "so\u{212a}id", "so\u{212a}id"),
            (12, "incomprehensibilities", "incomprehensibil"),
        ] {
            let mut words = words.clone();
            words[number - 1] = wrong;
            let error = Words::parse(&words.join(" ")).unwrap_err();
            assert_eq!(error, WordsError::NotInList { number, word: shown.to_owned() });
        }
        let error = WordsError::NotInList { number: 3, word: "a\u{1b}[1m".to_owned() };
        assert_eq!(error.to_string(), "word 3 is not in the list of recovery words: a\\u{1b}[1m");
    }

    /// Any other number of words than 24 is refused.
    #[test]
    fn words_are_24() {
        let words = VECTORS[4].1;
        let error = |text: &str| Words::parse(text).unwrap_err();
        assert_eq!(error(""), WordsError::Count(0));
        assert_eq!(error(words.rsplit_once(' ').unwrap().0), WordsError::Count(23));
        assert_eq!(error(&format!("{words} benefit")), WordsError::Count(25));
        assert_eq!(error(&format!("{words} {words}")), WordsError::Count(48));
    }

    /// Words whose last 8 bits are not those of the root's hash are refused. The last word has 3
    /// bits of the root and 8 of the hash: of the 2,048 last words 8 fit.
    #[test]
    fn words_with_wrong_checksum_are_refused() {
        let words = VECTORS[6].1;
        let (before, _) = words.rsplit_once(' ').unwrap();
        let fit = |last: &&&str| Words::parse(&format!("{before} {last}")).is_ok();
        assert_eq!(LIST.iter().filter(fit).count(), 8);
        let swapped = words.replacen("meadow surge", "surge meadow", 1);
        assert_eq!(Words::parse(&swapped).unwrap_err(), WordsError::Checksum);
    }

    #[test]
    fn words_debug_shows_nothing() {
        assert_eq!(format!("{:?}", Words::of(&root(VECTORS[1].0))), "Words([secret])");
    }
}
