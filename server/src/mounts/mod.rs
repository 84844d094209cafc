//! The mounts of a server: stores, and existing trees and archives, which are only read.
//!
//! ```text
//!   Mounts ──► MountPoint ──► Store, DirMount, TarMount
//!
//!   DirMount   an existing tree of files           Index   which member is where in an archive
//!      │  names    sorted entries, by windows         ↑
//!      │  walk     a page of the tree              TarMount   one open archive
//!      ↓                                              ↓
//!      └──────────►  FoundFile: a range of a file ◄───┘
//!                    ListedFile: an entry of a page
//! ```
//!
//! All calls block; the server makes them on the threads of its pools. Clients name a file by a
//! path in UTF-8. Neither the client nor the author of the tree or archive is trusted: no path, no
//! link and no archive leads outside of what the operator named. docs/MOUNTS.md says what is
//! refused and why.
//!
//! | bound | where |
//! |---|---|
//! | bytes of a path, and of a cursor | `limits::CURSOR_MAX_BYTES` |
//! | entries of a page, and their bytes | `page` |
//! | sorted names kept between pages | `dir::CACHE_BYTES` |
//! | names held while a directory is read | `dir::WINDOW_BYTES` |
//! | names held by all reads in progress, in all mounts | `dir::NAMES_BUDGET_BYTES` |
//! | how often a mount's path is checked | `path_watch::CHECK_EVERY`, or `revalidate_after` |
//! | members of an archive, bytes of their names | [`tar::MEMBERS_MAX`], [`tar::NAMES_MAX_BYTES`] |
//! | bytes of a PAX header or a long name | [`tar::EXTENSION_MAX_BYTES`] |

pub mod dir;
mod error;
mod file;
pub(crate) mod object;
mod open_files;
mod page;
mod path;
mod path_watch;
mod point;
mod protected;
mod table;
pub mod tar;

pub use dir::DirMount;
pub use error::{MountError, Unavailable};
pub use file::{FileTime, Fingerprint, FoundFile, ListedFile};
pub(crate) use object::OpenObject;
pub(crate) use open_files::OpenFileCache;
pub use page::Page;
pub use path::PathError;
pub(crate) use point::{MountId, OpenError};
pub use point::{MountPoint, Policy, Source};
pub use protected::ProtectedPaths;
pub use table::{Mounts, MountsError};
pub use tar::TarMount;
