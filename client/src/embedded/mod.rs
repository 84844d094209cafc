//! The embedded store: a server in this process, connected by a socket pair.
//!
//! The server is a dependency only with the feature `embedded`. Without it a key file that names a
//! store in the file system is an error.

#[cfg(not(feature = "embedded"))]
mod absent;
#[cfg(feature = "embedded")]
mod create;
mod error;
#[cfg(feature = "embedded")]
mod server;

#[cfg(not(feature = "embedded"))]
pub(crate) use self::absent::{LocalServer, connect, reconnect};
#[cfg(feature = "embedded")]
pub(crate) use self::create::create_at;
#[cfg(feature = "embedded")]
pub use self::create::{CreatedStore, create_on_first_use, create_store};
pub use self::error::EmbeddedError;
#[cfg(feature = "embedded")]
pub(crate) use self::server::{LocalServer, connect, reconnect};
