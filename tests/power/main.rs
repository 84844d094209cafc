//! A power cut as close to a real one as one machine can make it: a guest whose disk writes down
//! every write and every flush, and a look at what the disk would hold if the power had gone at
//! each flush. tests/power/run does all of it.
//!
//! ```text
//!   guest     in the machine: changes a store, one call after the other, and tells what it asks and what it is told
//!     │ serial line
//!   host      around it: writes that down beside the number of writes that the disk had by then
//!     ↓
//!   replay    the disk at each flush: a clean file system, and a store that has what was acknowledged
//!     ↓
//!   log       the disk's own record: that of QEMU's blklogwrites, which is dm-log-writes'
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod guest;
mod host;
mod log;
mod replay;

use std::{env, path::Path};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["guest", store] => guest::work(Path::new(store)),
        ["host", kernel, initramfs, dir] => {
            let dir = Path::new(dir);
            host::record(Path::new(kernel), Path::new(initramfs), dir);
            replay::check(dir);
        }
        _ => panic!("power guest STORE | power host KERNEL INITRAMFS DIRECTORY"),
    }
}
