//! Bounds of a server: its connections, and counted resources.

mod connections;
mod semaphore;

pub(crate) use connections::{
    ADMIN_CLIENTS_MAX, ConnectionLimiter, ConnectionLimits, ConnectionPermit, EVICTING_MAX,
    LimitReached, client_of,
};
pub(crate) use semaphore::{Permit, Semaphore};
