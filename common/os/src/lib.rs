//! What the server and the client ask of the operating system in the same way.
//!
//! | module | what it gives |
//! |---|---|
//! | [`clock`] | the time, as an argument |
//! | [`memory`] | out of memory: an error for large buffers, an end in order for a program |
//! | [`stdio`] | which of stdin, stdout and stderr were open when the process started |
//! | [`threads`] | threads whose start fails with an error |
//!
//! A library that uses this crate changes nothing about its process. A program chooses the
//! [`memory::Allocator`] and calls [`memory::init`] itself.
//!
//! ```
//! use zput_os::{Clock, memory, threads};
//!
//! # fn main() -> std::io::Result<()> {
//! // Where there is no memory for a thread, or too many run, this is an error and no abort.
//! let worker = threads::spawn("worker", || 6 * 7)?;
//! assert_eq!(worker.join().unwrap(), 42);
//! // Whether so many bytes can be had now.
//! assert!(memory::has_room(1 << 20));
//! // A test chooses the time; a program takes `Clock::system()`.
//! assert_eq!(Clock::new(|| 1_000_000_007).now_ns(), 1_000_000_007);
//! # Ok(())
//! # }
//! ```
//!
//! # Floors
//!
//! A module imports from the floors below its own, never from its own floor or above.
//!
//! ```text
//! threads       threads whose start fails with an error
//! memory        out of memory: an error for large buffers, an end in order for a program
//! clock stdio   the time, as an argument; which standard streams were open
//! ```

pub mod clock;
pub mod memory;
pub mod stdio;
pub mod threads;

pub use clock::Clock;
