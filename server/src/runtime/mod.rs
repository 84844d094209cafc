//! What runs a server: its listeners, the thread that accepts, the worker threads and their pools.

mod acceptor;
pub mod address;
pub mod embedded;
pub(crate) mod listener;
pub(crate) mod options;
pub mod server;
mod store_metrics;
mod upload_expiry;
mod workers;
