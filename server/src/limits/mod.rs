//! What bounds the connections of a server, and the things that they hold.

mod connections;
mod semaphore;

pub(crate) use connections::{
    ADMIN_CLIENTS_MAX, ConnectionLimiter, ConnectionLimits, ConnectionPermit, EVICTING_MAX,
    LimitReached,
};
pub(crate) use semaphore::{Permit, Semaphore};
