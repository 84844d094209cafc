//! The programs of zput.
//!
//! ```text
//! cmd                             the programs; bin/ calls it
//!  ↓
//! notice_text  key_choice
//!  ↓
//! error  error_code  exit_code  advice      what a failure says, by text, word and number
//!  ↓
//! bar  passphrase  signals  terminal        what only a program has
//! core_dump  ephemeral_state  sizes
//! ```

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
