//! A slab whose indices carry a generation: an id of a removed value never finds the value that
//! took its index.

/// Identifies one value for as long as it is in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    /// The index, which another value may have had before and may have after it.
    pub(crate) index: usize,
    generation: u64,
}

#[cfg(test)]
impl ConnectionId {
    /// An id that finds no value.
    pub(crate) const fn for_test() -> Self {
        Self { index: 0, generation: 0 }
    }
}

#[derive(Debug)]
struct SlabEntry<T> {
    generation: u64,
    value: Option<T>,
}

/// Values by index. It grows to the most values that were ever in it at once.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<SlabEntry<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    /// An empty slab, which has allocated nothing.
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Adds `value` and returns its id, which no earlier value had.
    pub(crate) fn insert(&mut self, value: T) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(SlabEntry { generation: 0, value: None });
            self.slots.len() - 1
        });
        let mut id = ConnectionId { index, generation: 0 };
        if let Some(slot) = self.slots.get_mut(index) {
            slot.generation += 1;
            id.generation = slot.generation;
            slot.value = Some(value);
        }
        id
    }

    /// The value at `index`, with its id.
    pub(crate) fn at(&mut self, index: usize) -> Option<(ConnectionId, &mut T)> {
        let slot = self.slots.get_mut(index)?;
        let id = ConnectionId { index, generation: slot.generation };
        slot.value.as_mut().map(|value| (id, value))
    }

    /// The value with this id, unless it was removed.
    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut T> {
        self.at(id.index).filter(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// Removes the value with this id.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let slot = self.slots.get_mut(id.index).filter(|s| s.generation == id.generation)?;
        let value = slot.value.take()?;
        self.free.push(id.index);
        Some(value)
    }

    /// Number of values in the slab.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The ids of all values.
    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        taken.map(|(index, slot)| ConnectionId { index, generation: slot.generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id of a removed value finds nothing in the slab although its index is used again.
    #[test]
    fn slab_id_of_removed_value_finds_nothing() {
        let mut slots = Slab::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(second.index, first.index, "places are used again");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&mut 'b'));
        assert_eq!((slots.len(), slots.ids()), (1, vec![second]));
    }
}
