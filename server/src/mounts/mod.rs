//! What is served, and where: stores, and trees and archives that somebody else makes, only to be read.
//!
//! ```text
//!   Mounts ──► MountPoint ──► Store, DirMount, TarMount
//!
//!   DirMount   an existing tree of files           Index   what is where in an archive
//!      │  names    sorted entries, by windows         ↑
//!      │  walk     a page of the tree              TarMount   one archive, open
//!      ↓                                              ↓
//!      └──────────►  Found: a stretch of a file  ◄────┘
//!                    Listed: an entry of a page
//! ```
//!
//! All calls block; the server makes them on the threads of its disk pool. Whoever asks for a file names
//! it by a path in UTF-8; whoever made the tree or the archive is not trusted either: no path, no link and
//! no archive leads outside of what the operator named. docs/MOUNTS.md says what is refused and why.
//!
//! | bound | where |
//! |---|---|
//! | bytes of a path, and of a cursor | `limits::CURSOR_MAX_BYTES` |
//! | entries of a page, and their bytes | `page` |
//! | sorted names kept between pages | `dir::CACHE_BYTES` |
//! | names held while a directory is read | `dir::WINDOW_BYTES` |
//! | names held by all that is being read, in all mounts | `dir::ROOM_BYTES` |
//! | how often a mount's path is looked at | `watch::LOOK_EVERY`, or `stat_validity` |
//! | members of an archive, bytes of their names | [`tar::MEMBERS_MAX`], [`tar::NAMES_MAX_BYTES`] |
//! | bytes of a PAX header or a long name | [`tar::EXTENSION_MAX_BYTES`] |

pub mod dir;
mod error;
#[path = "file.rs"]
mod found;
#[path = "protected.rs"]
mod guard;
mod page;
mod path;
mod point;
mod table;
pub mod tar;
#[path = "path_watch.rs"]
mod watch;

pub use dir::DirMount;
pub use error::{MountError, Unavailable};
pub use found::{Found, Identity, Listed, Modified};
pub use guard::Guard;
pub use page::Page;
pub use path::PathFlaw;
pub(crate) use point::{MountId, OpenError};
pub use point::{MountPoint, Policy, Source};
pub use table::{Mounts, MountsError};
pub use tar::TarMount;
