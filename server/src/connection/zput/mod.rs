//! zput's protocol, for one connection: state machine, and the request being served.
//!
//! ```text
//!   bytes ──fill──► ServerSession ──request──► serve ──► dispatch ──► Job ──► pool
//!                        ▲                                                     │
//!                        └──────────response────── deliver ────────────────────┘
//! ```

mod anonymous;
pub(crate) mod authorize;
mod deadlines;
mod deliver;
pub(crate) mod dispatch;
mod error_response;
mod fill;
mod outgoing;
mod peer;
mod receive;
mod serve;
mod service;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use service::Service;
pub(crate) use settings::Settings;
