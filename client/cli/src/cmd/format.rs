//! Sizes, permissions and versions as text, for people and scripts.

pub(crate) use zput::cli::{local_version_time, precise_time, time, version_time};

pub(crate) use crate::sizes::size;

/// Versions and generations as text: they exceed the exact numbers of some JSON readers.
pub(crate) fn number(value: u64) -> String {
    value.to_string()
}

/// Permission bits in octal, as `chmod` takes them: `0644`.
pub(crate) fn octal(mode: u32) -> String {
    format!("{:04o}", mode & 0o777)
}

/// Permission bits as `ls` shows them: `rwxr-xr-x`.
pub(crate) fn permissions(mode: u32) -> String {
    (0..9)
        .rev()
        .map(|bit| if mode >> bit & 1 == 0 { '-' } else { ['x', 'w', 'r'][bit % 3] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Permission bits are written as ls and chmod write them.
    #[test]
    fn permissions_are_written_like_ls_and_chmod() {
        assert_eq!(permissions(0o755), "rwxr-xr-x");
        assert_eq!(permissions(0o4640), "rw-r-----");
        assert_eq!(permissions(0), "---------");
        assert_eq!(octal(0o100_644), "0644");
        assert_eq!(octal(0o7), "0007");
    }
}
