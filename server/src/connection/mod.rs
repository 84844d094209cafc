//! One connection: the state of its protocol, the request being served, and its end.

mod close;
mod context;
mod driver;
pub(crate) mod http;
mod input;
mod min_rate;
#[cfg(test)]
mod testing;
pub(crate) mod zput;

pub(crate) use close::CloseReason;
pub(crate) use context::{TurnContext, TurnOutcome, TurnResources};
pub(crate) use driver::{Driver, Protocol};
#[cfg(test)]
pub(crate) use testing::TestContext;
