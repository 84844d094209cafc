//! Buffers whose allocation may fail with an error instead of ending the program.
//!
//! The standard library aborts a program when an allocation fails. The allocator of zput's programs
//! ends them in order instead, unless [`may_fail`] says that the allocation was made by
//! [`reserve`].

use std::{cell::Cell, collections::TryReserveError};

thread_local! {
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Makes room for `more` elements after those in `buffer`, which keeps its contents.
///
/// # Errors
/// When there is no memory for them. `buffer` is unchanged.
pub fn reserve<T>(buffer: &mut Vec<T>, more: usize) -> Result<(), TryReserveError> {
    MAY_FAIL.set(true);
    // Nothing but the allocator runs in between.
    let reserved = buffer.try_reserve_exact(more);
    MAY_FAIL.set(false);
    reserved
}

/// Whether this thread is inside [`reserve`].
#[must_use]
pub fn may_fail() -> bool {
    MAY_FAIL.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reserve that cannot be met is an error and leaves the buffer's contents in place.
    #[test]
    fn reserve_out_of_memory_is_an_error_and_keeps_contents() {
        let mut buffer = vec![7_u8; 3];
        assert!(reserve(&mut buffer, 1 << 60).is_err());
        assert_eq!(buffer, [7, 7, 7]);
        reserve(&mut buffer, 1000).unwrap();
        assert!(buffer.capacity() >= 1003);
        assert_eq!(buffer, [7, 7, 7]);
        assert!(!may_fail());
    }
}
