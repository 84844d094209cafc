//! Where plaintext comes from and goes to, and who is told how far it is.

pub(crate) mod attributes;
pub(crate) mod progress;
pub(crate) mod sink;
pub(crate) mod source;
