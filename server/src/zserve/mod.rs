//! What the program `zserve` adds to the server: configuration, sandbox, log, service manager, and
//! the commands that make invites and verify stores.

pub mod config;
pub mod invite;
pub mod log;
pub mod open_mounts;
pub mod ready;
pub mod sandbox;
pub mod scrub;
pub mod socket_activation;
pub mod systemd;
