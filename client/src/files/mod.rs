//! Files of this user: where they are, and how they are created, replaced and read.
//!
//! ```text
//! atomic            a small file that is replaced as a whole
//! create  existing_target  owner
//! install           gives a complete file its name
//! destination       where a path leads
//! path  standard_streams  secret_file  directories
//! ```

pub(crate) mod atomic;
pub(crate) mod create;
pub(crate) mod directories;
pub(crate) mod install;
pub(crate) mod path;
pub(crate) mod secret_file;
pub(crate) mod standard_streams;

pub(crate) mod destination;
pub(crate) mod existing_target;

pub(crate) mod owner;
