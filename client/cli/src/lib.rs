//! The programs of zput.
//!
//! # Floors
//!
//! ```text
//! bin         the programs zblob, zput and zget
//! cmd         the verbs, and what the programs share
//! key_choice  which key file, and its passphrase
//! error_code terminal  the codes of JSON; questions on a terminal
//! error notice_text signals  errors of a program; what is told on the way; signals and clean-up
//! advice bar core_dump ephemeral_state exit_code passphrase sizes  what only a program has
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
