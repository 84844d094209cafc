//! Errors of the client.
//!
//! [`Error`] says what happened and to what; `source()` has the cause, which its text does not
//! repeat. [`Error::kind`] says what a caller can do about it.

mod clock_skew;
mod kind;
mod restart_reason;
mod variants;

pub use self::{
    kind::ErrorKind,
    restart_reason::RestartReason,
    variants::{Error, Result},
};
