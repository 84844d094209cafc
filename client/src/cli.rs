//! What the programs of zput need beside the façade. No stable interface: it changes with them.

pub use crate::{
    calendar::{When, local_version_time, precise_time, time, version_time},
    connection::{ConnectionError, ResolveError, Resolver, Route},
    embedded::EmbeddedError,
    escape::printable,
    event::{Event, Notice},
    files::{
        atomic::Staged,
        create::create_missing,
        destination::open_inherited,
        directories::{Directories, DirectoriesError},
        install::IfExists,
    },
    get::{ByteRange, GetOptions, GetReceipt},
    io::{
        attributes::Attributes,
        progress::Silent,
        sink::{AttributeWarning, Output, Sink, SinkError},
        source::{CommandSource, FileSource, Source, SourceError, check_readable},
    },
    key::{
        lock::KeyFileLock,
        path::{KeyPath, KeystoreError, Unlocked},
    },
    limits::PART_BYTES,
    objects::{
        list::{Listed, Listing, Unlisted},
        migrate::Migrated,
        stat::Stat,
    },
    put::{BatchItem, JOBS, JOBS_MAX, NamedFile, PutOptions, PutReceipt, Resume, SMALL_BYTES},
    random::os_rng,
    retry::RETRIES,
    session::{NoticeHandler, Session},
    state::{
        FileIdentity,
        journal::JournalError,
        partial::PartialDownloads,
        rollback::{RollbackError, RollbackGuard},
    },
};

/// Temporary files and children of this process.
pub mod cleanup {
    pub use crate::cleanup::{ChildGuard, FileGuard, Registry, lock};
}

/// Sealing and opening without a server.
pub mod offline {
    pub use crate::offline::{Opened, Voucher, open_file, open_pipe, seal};
}

/// Files of secrets.
pub mod secret_file {
    pub use crate::files::secret_file::read;
}

/// Stdin, stdout and stderr.
pub mod standard_streams {
    pub use crate::files::standard_streams::{BlockingStream, stderr, stdin, stdout};
}

#[cfg(feature = "embedded")]
pub use crate::embedded::{CreatedStore, create_on_first_use, create_store};
