//! The programs of zput.
//!
//! # Floors
//!
//! ```text
//! cmd  the programs; bin/ calls it
//! key_choice  which key file, and its passphrase
//! error_code terminal  words for JSON; questions
//! error notice_text signals  why a command failed; events; what must not outlive the process
//! advice bar core_dump ephemeral_state exit_code passphrase sizes
//! ```
//!
//! Imports go down only. What a failure says is made in `advice`, its number in `exit_code`.

pub mod bar;
pub mod cmd;
pub mod core_dump;
pub mod ephemeral_state;
pub mod signals;
pub mod terminal;

mod advice;
mod error;
mod error_code;
mod exit_code;
mod key_choice;
mod notice_text;
mod passphrase;
mod sizes;

pub use error::CommandError;
pub use error_code::CODES;
pub use exit_code::ExitCode;
