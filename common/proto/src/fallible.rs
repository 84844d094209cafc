//! Buffers for which there may be no room, where that is an error of the caller and not the end of the program.
//!
//! The standard library aborts a program that it has no memory for, which is why the programs of zput have an
//! allocator that ends them in order instead. It asks [`may_fail`] whether the caller wants to hear of it.

use std::{cell::Cell, collections::TryReserveError};

thread_local! {
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Makes room for `more` elements behind those that `buffer` has. What it holds stays.
///
/// # Errors
/// When there is no memory for them; `buffer` is as it was.
pub fn reserve<T>(buffer: &mut Vec<T>, more: usize) -> Result<(), TryReserveError> {
    MAY_FAIL.set(true);
    // The allocator is all that runs in it.
    let reserved = buffer.try_reserve_exact(more);
    MAY_FAIL.set(false);
    reserved
}

/// Whether this thread asks for memory by [`reserve`] now.
#[must_use]
pub fn may_fail() -> bool {
    MAY_FAIL.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_an_error_and_what_was_there_stays() {
        let mut buffer = vec![7_u8; 3];
        assert!(reserve(&mut buffer, 1 << 60).is_err());
        assert_eq!(buffer, [7, 7, 7]);
        reserve(&mut buffer, 1000).unwrap();
        assert!(buffer.capacity() >= 1003);
        assert_eq!(buffer, [7, 7, 7]);
        assert!(!may_fail());
    }
}
