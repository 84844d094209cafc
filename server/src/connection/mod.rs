//! One connection: its protocol's state, the request being served, and its end.

pub(crate) mod close;
pub(crate) mod context;
pub(crate) mod http;
mod min_rate;
#[cfg(test)]
mod testing;
pub(crate) mod zput;

#[cfg(test)]
pub(crate) use testing::TestContext;
