//! One connection of zput's protocol: state machine, socket, and the request being served.
//!
//! ```text
//!   socket ──fill──► ServerSession ──request──► dispatch ──► Job ──► pool
//!      ▲                   │  ▲                                       │
//!      └───────flush───────┘  └───────────────deliver─────────────────┘
//! ```
//!
//! Requests are served one at a time, in order: the next is taken when the response to the one
//! before has left, and nothing is read while one is being served. So a peer that does not read its
//! responses is not read from either, and no queue grows.
//!
//! A turn moves bytes until there is nothing to do or its budget is spent, and returns a
//! [`TurnOutcome`](super::context::TurnOutcome) to the worker.

pub(crate) mod authorize;
mod connection;
mod deadlines;
mod deliver;
pub(crate) mod dispatch;
mod error_response;
mod receive;
mod serve;
mod turn;

pub(crate) use connection::{Connection, Settings};
