//! Numbered places, each with a count of who sat there: the address of one that has left never
//! reaches the one who came after.

/// The address of one occupant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId {
    /// Which place.
    pub(crate) index: usize,
    generation: u64,
}

#[cfg(test)]
impl SlotId {
    /// An address where nobody sits.
    pub(crate) const fn for_test() -> Self {
        Self { index: 0, generation: 0 }
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u64,
    occupant: Option<T>,
}

/// Places, as many as were ever needed at once.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<usize>,
}

impl<T> Slots<T> {
    /// No places yet.
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new() }
    }

    /// Seats `occupant`.
    pub(crate) fn insert(&mut self, occupant: T) -> SlotId {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, occupant: None });
            self.slots.len() - 1
        });
        let mut id = SlotId { index, generation: 0 };
        if let Some(slot) = self.slots.get_mut(index) {
            slot.generation += 1;
            id.generation = slot.generation;
            slot.occupant = Some(occupant);
        }
        id
    }

    /// Whoever sits at `index` now, with its address.
    pub(crate) fn at(&mut self, index: usize) -> Option<(SlotId, &mut T)> {
        let slot = self.slots.get_mut(index)?;
        let id = SlotId { index, generation: slot.generation };
        slot.occupant.as_mut().map(|occupant| (id, occupant))
    }

    /// The occupant with this address, if it has not left.
    pub(crate) fn get(&mut self, id: SlotId) -> Option<&mut T> {
        self.at(id.index).filter(|(found, _)| *found == id).map(|(_, occupant)| occupant)
    }

    /// Takes the occupant with this address away.
    pub(crate) fn remove(&mut self, id: SlotId) -> Option<T> {
        let slot = self.slots.get_mut(id.index).filter(|s| s.generation == id.generation)?;
        let occupant = slot.occupant.take()?;
        self.vacant.push(id.index);
        Some(occupant)
    }

    /// How many are seated.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// The addresses of all that are seated.
    pub(crate) fn ids(&self) -> Vec<SlotId> {
        let seated = self.slots.iter().enumerate().filter(|(_, slot)| slot.occupant.is_some());
        seated.map(|(index, slot)| SlotId { index, generation: slot.generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_one_that_left_reaches_nobody() {
        let mut slots = Slots::new();
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
