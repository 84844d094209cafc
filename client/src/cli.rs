//! What the programs of zput need beside the façade. No stable interface: it changes with them.
//!
//! None of it is public, because none could be kept as it is: a [`Session`] with its sources and
//! outputs is the engine below [`Client`](crate::Client), and the rest are the library's own
//! helpers, which the programs share instead of having a second implementation.

// The engine: a `Client` is a façade over these, and a caller of the façade needs none of them.
pub use crate::{
    get::{ByteRange, GetOptions},
    io::{
        attributes::Attributes,
        sink::{Output, Sink},
        source::{CommandSource, FileSource, Source, check_readable},
    },
    objects::{
        list::{Listed, Listing},
        migrate::Migrated,
    },
    put::{JOBS, JOBS_MAX, NamedFile, PutOptions},
    retry::RETRIES,
    session::Session,
    state::partial::PartialDownloads,
};

// Key files in the file system: which one, locked while it is made, under which passphrase.
pub use crate::{
    files::directories::Directories,
    key::{
        lock::KeyFileLock,
        path::{KeyPath, Unlocked},
    },
};

#[cfg(feature = "embedded")]
pub use crate::embedded::{CreatedStore, create_on_first_use, create_store};

// Tests choose the addresses that a name has.
pub use crate::connection::{Resolver, Route};

// Helpers that library and programs share: texts, files that appear complete or not at all.
pub use crate::{
    calendar::{When, local_version_time, precise_time, time, version_time},
    escape::printable,
    files::{
        atomic::Staged, create::create_missing, destination::open_inherited, install::IfExists,
    },
    limits::PART_BYTES,
    random::os_rng,
};

/// Sealing and opening without a server. An embedder uses `zput-seal`, which takes bytes.
pub mod offline {
    pub use crate::offline::{Voucher, open_file, open_pipe, seal};
}

/// Files of secrets.
pub mod secret_file {
    pub use crate::files::secret_file::read;
}

/// Stdin, stdout and stderr.
pub mod standard_streams {
    pub use crate::files::standard_streams::{BlockingStream, stderr, stdin, stdout};
}
