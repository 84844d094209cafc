//! Nothing that was sent is lost: puts and gets go on where they were interrupted, however that
//! came about, and what they end with is byte for byte what was there when the one that succeeded
//! began.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod damage;
mod gets;
mod order;
mod puts;
mod rivals;
mod setting;
mod silence;
mod sources;
