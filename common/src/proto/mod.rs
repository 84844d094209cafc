//! The protocol, version 1 (docs/PROTOCOL.md), without sockets and without a clock.

pub mod message;
