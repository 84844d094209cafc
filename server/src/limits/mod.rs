//! Bounds of a server: its connections, and counted resources.

mod connections;
mod semaphore;

pub(crate) use connections::{
    ADMIN_CLIENTS_MAX, ConnectionLimiter, ConnectionLimits, ConnectionPermit, EVICTING_MAX,
    LimitReached,
};
pub(crate) use semaphore::{Permit, Semaphore};
