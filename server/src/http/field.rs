//! The value of a header field.

use super::bounds::KEPT_BYTES;

/// The value of a field, its lines joined. 5.3: "A recipient MAY combine multiple field lines
/// within a field section that have the same field name into one field line … by appending each
/// subsequent field line value to the initial field line value in order, separated by a comma".
#[derive(Debug, Default)]
pub(super) struct FieldValue {
    is_present: bool,
    value: Vec<u8>,
}

impl FieldValue {
    pub(super) fn add(&mut self, line: &[u8]) {
        if self.is_present {
            self.value.extend_from_slice(b", ");
        }
        self.is_present = true;
        self.value.extend_from_slice(line);
    }

    /// The value, if the field was there.
    pub(super) fn get(&self) -> Option<&[u8]> {
        self.is_present.then_some(self.value.as_slice())
    }

    pub(super) fn reset(&mut self) {
        self.is_present = false;
        self.value.clear();
        self.value.shrink_to(KEPT_BYTES);
    }
}

/// `1*DIGIT`; a number that does not fit is the greatest that does.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}
