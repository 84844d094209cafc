//! Plaintext of any length that is held nowhere: the bytes of a seed, to be read and to be compared
//! with.

use std::io::{self, Read};

/// Bytes that look random, the same ones for the same seed (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Pattern {
    state: u64,
    left: u64,
    word: [u8; 8],
    /// Bytes of `word` that were given already.
    taken: usize,
}

impl Pattern {
    /// The first `length` bytes of `seed`.
    #[must_use]
    pub fn new(seed: u64, length: u64) -> Self {
        Self { state: seed, left: length, word: [0; 8], taken: 8 }
    }

    /// All of it at once, for what fits in memory.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn bytes(seed: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = Self::new(seed, length).read_to_end(&mut bytes);
        assert_eq!(read.ok().map(|n| n as u64), Some(length));
        bytes
    }

    /// Reads `other` to its end and compares it with what is left of this. Says where they part.
    ///
    /// # Errors
    /// When `other` cannot be read.
    pub fn compare(mut self, mut other: impl Read) -> io::Result<Same> {
        let (mut got, mut expected) = (vec![0; 1 << 18], vec![0; 1 << 18]);
        let mut at = 0;
        loop {
            let n = other.read(&mut got)?;
            if n == 0 {
                return Ok(if self.left == 0 { Same::All(at) } else { Same::Until(at) });
            }
            let mut known = 0;
            while known < n {
                match self.read(&mut expected[known..n])? {
                    0 => break,
                    more => known += more,
                }
            }
            if got[..n] != expected[..known] {
                let same = got[..known].iter().zip(&expected).take_while(|(a, b)| a == b).count();
                return Ok(Same::Until(at + same as u64));
            }
            at += n as u64;
        }
    }

    fn next_word(&mut self) -> [u8; 8] {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

/// How far two streams are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// All of their bytes are equal; their number.
    All(u64),
    /// Only before this offset.
    Until(u64),
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut rest = &mut buffer[..length];
        let begun = (8 - self.taken).min(rest.len());
        rest[..begun].copy_from_slice(&self.word[self.taken..self.taken + begun]);
        self.taken += begun;
        rest = &mut rest[begun..];
        let mut words = rest.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next_word());
        }
        let rest = words.into_remainder();
        if !rest.is_empty() {
            self.word = self.next_word();
            self.taken = rest.len();
            rest.copy_from_slice(&self.word[..self.taken]);
        }
        self.left -= length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pattern gives the published first outputs of SplitMix64.
    #[test]
    fn pattern_bytes_are_those_of_splitmix64() {
        // The first outputs for the seed 1234567, as published with the generator.
        let words = [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973];
        let expected: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(Pattern::bytes(1_234_567, 16), expected);
    }

    /// Pattern gives the same bytes for reads of any size.
    #[test]
    fn pattern_is_the_same_however_reads_are_split() {
        let whole = Pattern::bytes(7, 1000);
        for step in [1, 3, 8, 13, 999] {
            let (mut pattern, mut bytes, mut buffer) =
                (Pattern::new(7, 1000), Vec::new(), vec![0; step]);
            while let Ok(n @ 1..) = pattern.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..n]);
            }
            assert!(bytes == whole, "steps of {step}");
        }
    }

    /// Pattern::compare gives the offset of the first difference between two streams.
    #[test]
    fn pattern_compare_gives_offset_of_first_difference() {
        let same = |bytes: &[u8]| Pattern::new(7, 1000).compare(bytes).unwrap();
        let mut bytes = Pattern::bytes(7, 1001);
        assert_eq!(same(&bytes[..1000]), Same::All(1000));
        assert_eq!(same(&bytes[..999]), Same::Until(999));
        assert_eq!(same(&bytes), Same::Until(1000));
        bytes[500] ^= 1;
        assert_eq!(same(&bytes[..1000]), Same::Until(500));
    }
}
