//! The client as a program sees it.

mod builder;
mod get;
mod handle;
mod list;
mod put;

pub use self::{
    builder::ClientBuilder,
    get::Get,
    handle::Client,
    list::{Blob, Listing},
    put::Put,
};
