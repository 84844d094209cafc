//! Epochs, and the order of the blobs of one key (FORMAT 3).

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An epoch of a vault, from 0. Each change of the vault's state begins the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch with this number. A charter's is below [`EPOCHS_MAX`](crate::limits::EPOCHS_MAX);
    /// a header's may be any.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The epoch's number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The place of a blob among those of its key.
///
/// FORMAT 3: "The **order** of a key's blobs is that of (epoch, generation): a new epoch begins a
/// new count, so that no number outlives it."
///
/// ```
/// use zput_proto::vault::{Epoch, Order};
///
/// let bomb = Order::new(Epoch::new(0), i64::MAX as u64).unwrap();
/// assert_eq!(bomb.one_more(), None);
/// assert!(Order::new(Epoch::new(1), 0).unwrap() > bomb);
/// ```
///
/// A message has it as a u32 and a u64; a generation of 2^63 or more is refused there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u64)", into = "(u32, u64)")]
pub struct Order {
    // The epoch is compared first.
    epoch: Epoch,
    generation: u64,
}

impl Order {
    /// The order of a header; `None` when its generation is not below 2^63.
    #[must_use]
    pub const fn new(epoch: Epoch, generation: u64) -> Option<Self> {
        if generation >= GENERATIONS { None } else { Some(Self { epoch, generation }) }
    }

    /// The epoch that the blob's writer knew.
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The writer's clock in ns since 1970, or one more than the newest generation that it knew of
    /// this key in this epoch.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.generation
    }

    /// The next order of the same epoch; `None` when there is none.
    #[must_use]
    pub const fn one_more(self) -> Option<Self> {
        Self::new(self.epoch, self.generation + 1)
    }
}

/// A generation of 2^63 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a generation is below 2^63, this one is {0}")]
pub struct GenerationError(pub u64);

impl TryFrom<(u32, u64)> for Order {
    type Error = GenerationError;

    fn try_from((epoch, generation): (u32, u64)) -> Result<Self, Self::Error> {
        Self::new(Epoch::new(epoch), generation).ok_or(GenerationError(generation))
    }
}

impl From<Order> for (u32, u64) {
    fn from(order: Order) -> Self {
        (order.epoch.number(), order.generation)
    }
}

/// Generations are below this.
const GENERATIONS: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn order(epoch: u32, generation: u64) -> Order {
        Order::new(Epoch::new(epoch), generation).unwrap()
    }

    /// A later epoch is above every generation of an earlier one.
    #[test]
    fn order_is_by_epoch_and_then_by_generation() {
        assert!(order(0, 5) < order(0, 6));
        assert!(order(0, (1 << 63) - 1) < order(1, 0));
        assert_eq!(order(3, 7).one_more(), Some(order(3, 8)));
    }

    /// Generations end below 2^63.
    #[test]
    fn order_has_no_generation_of_2_63_or_more() {
        for generation in [1 << 63, (1 << 63) + 1, u64::MAX] {
            assert_eq!(Order::new(Epoch::new(0), generation), None);
        }
        assert_eq!(order(0, (1 << 63) - 1).one_more(), None);
        assert_eq!(order(0, (1 << 63) - 2).one_more(), Some(order(0, (1 << 63) - 1)));
    }
}
