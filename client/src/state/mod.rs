//! Files of the state directory: what this user's machine remembers between commands.
//!
//! | module | file | lock |
//! |---|---|---|
//! | [`rollback`] | newest generation seen of each key | flock(2) for each write |
//! | [`journal`] | parts of an interrupted put | flock(2) for the life of the put |
//! | [`partial`] | parts of an interrupted get | flock(2) for the life of the get |

pub(crate) mod journal;
pub(crate) mod partial;
pub(crate) mod rollback;

mod file_identity;
mod locked_file;

pub(crate) use self::file_identity::FileIdentity;
