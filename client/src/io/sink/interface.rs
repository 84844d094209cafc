//! What takes plaintext.

use zput_seal::blob::open::Trusted;

use super::error::SinkError;

/// Takes verified plaintext, in order.
pub trait Sink: Send {
    /// Appends `plaintext`.
    ///
    /// # Errors
    /// When it cannot be written; the transfer ends.
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError>;

    /// Whether an earlier get may have left parts that this one can resume from.
    fn has_partial(&self) -> bool {
        false
    }

    /// Prepares for a whole blob, which follows part by part. Returns how many of its first parts
    /// are already here, verified; 0 to receive all.
    ///
    /// # Errors
    /// When existing parts cannot be read or truncated.
    fn begin(&mut self, _blob: &Trusted) -> Result<u64, SinkError> {
        Ok(0)
    }
}

/// Collects plaintext in memory.
impl Sink for Vec<u8> {
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        self.extend_from_slice(plaintext);
        Ok(())
    }
}
