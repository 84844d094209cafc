//! Where plaintext comes from and goes to, and how progress is reported.

pub(crate) mod attributes;
pub(crate) mod progress;
pub(crate) mod sink;
pub(crate) mod source;
