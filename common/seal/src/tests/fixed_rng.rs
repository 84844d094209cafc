//! Given bytes as a random source, so that a message gets the salt of a golden file.

use std::convert::Infallible;

use rand::{TryCryptoRng, TryRng};

/// Gives the bytes it was made of, once.
pub(crate) struct FixedRng(Vec<u8>);

impl FixedRng {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

impl TryRng for FixedRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let drawn: Vec<u8> = self.0.drain(..bytes.len()).collect();
        bytes.copy_from_slice(&drawn);
        Ok(())
    }
}

impl TryCryptoRng for FixedRng {}
