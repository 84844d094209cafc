//! zput-server

pub mod store;
mod sys;
