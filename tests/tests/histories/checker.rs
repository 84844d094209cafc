//! Whether a history is linearizable: the algorithm of Wing and Gong (1993), with the memory of
//! Lowe (2017): what was done by now and what that came to is not tried twice.

use std::{collections::HashSet, fmt::Debug, hash::Hash, time::Instant};

/// What one caller at a time sees.
pub(crate) trait Model {
    /// What it remembers.
    type State: Clone + Eq + Hash + Default;
    /// A call with its answer.
    type Call: Debug;

    /// The state behind the call; `None` when this answer cannot be given in this state.
    fn step(state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// A call, when it was made, and when it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Entry<C> {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) call: C,
}

/// Whether the calls have an order that a single caller could have made them in, in which each that
/// ended before another one began comes before it.
pub(crate) fn is_linearizable<M: Model>(history: &[Entry<M::Call>]) -> bool {
    let mut entries: Vec<_> = history.iter().collect();
    entries.sort_by_key(|entry| entry.began);
    let mut search = Search::<M> { entries, seen: HashSet::new() };
    let done = vec![false; search.entries.len()];
    search.goes_on(done, M::State::default())
}

struct Search<'a, M: Model> {
    /// By when they began.
    entries: Vec<&'a Entry<M::Call>>,
    seen: HashSet<(Vec<bool>, M::State)>,
}

impl<M: Model> Search<'_, M> {
    /// Whether what is not done yet can be done from here.
    fn goes_on(&mut self, done: Vec<bool>, state: M::State) -> bool {
        let left = || (0..done.len()).filter(|number| !done[*number]);
        // Whoever comes next began before any of the others had ended.
        let Some(first_end) = left().map(|number| self.entries[number].ended).min() else {
            return true;
        };
        if !self.seen.insert((done.clone(), state.clone())) {
            return false;
        }
        let next: Vec<_> =
            left().take_while(|number| self.entries[*number].began <= first_end).collect();
        next.into_iter().any(|number| {
            M::step(&state, &self.entries[number].call).is_some_and(|behind| {
                let mut done = done.clone();
                done[number] = true;
                self.goes_on(done, behind)
            })
        })
    }
}

/// The checker, checked: histories of a register, as the literature has them.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A register that holds 0 at first.
    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Write(u32),
        Read(u32),
    }
    use Call::{Read, Write};

    impl Model for Register {
        type State = u32;
        type Call = Call;

        fn step(state: &u32, call: &Call) -> Option<u32> {
            match call {
                Write(value) => Some(*value),
                Read(value) => (value == state).then_some(*value),
            }
        }
    }

    /// Each call with the moments at which it began and ended.
    #[track_caller]
    fn assert_is(linearizable: bool, calls: &[(u64, u64, Call)]) {
        let zero = Instant::now();
        let at = |moment| zero + Duration::from_secs(moment);
        let entries: Vec<_> = calls
            .iter()
            .map(|(began, ended, call)| Entry { began: at(*began), ended: at(*ended), call: *call })
            .collect();
        assert_eq!(is_linearizable::<Register>(&entries), linearizable, "{calls:?}");
        let backwards: Vec<_> = entries.into_iter().rev().collect();
        assert_eq!(is_linearizable::<Register>(&backwards), linearizable, "{calls:?} backwards");
    }

    /// Calls that do not overlap are linearizable only in their order.
    #[test]
    fn is_linearizable_demands_order_of_sequential_calls() {
        assert_is(true, &[]);
        assert_is(true, &[(0, 1, Read(0)), (2, 3, Write(1)), (4, 5, Read(1))]);
        assert_is(false, &[(0, 1, Write(1)), (2, 3, Read(0))]);
        assert_is(false, &[(0, 1, Read(1)), (2, 3, Write(1))]);
        assert_is(false, &[(0, 1, Read(7))]);
    }

    /// Overlapping calls may take effect in either order, which is one for all readers.
    #[test]
    fn is_linearizable_allows_one_order_of_overlapping_calls() {
        // Herlihy and Wing (1990), figure 1 and 2, as reads and writes of a register.
        assert_is(true, &[(0, 5, Write(1)), (1, 2, Read(0)), (3, 4, Read(1))]);
        assert_is(false, &[(0, 5, Write(1)), (1, 2, Read(1)), (3, 4, Read(0))]);
        assert_is(true, &[(0, 3, Write(1)), (1, 4, Write(2)), (5, 6, Read(1))]);
        assert_is(true, &[(0, 3, Write(1)), (1, 4, Write(2)), (5, 6, Read(2))]);
        assert_is(false, &[(0, 3, Write(1)), (1, 4, Write(2)), (5, 6, Read(1)), (7, 8, Read(2))]);
        assert_is(
            false,
            &[
                (0, 9, Write(1)),
                (0, 9, Write(2)),
                (1, 2, Read(1)),
                (3, 4, Read(2)),
                (5, 6, Read(1)),
            ],
        );
    }

    /// A read of the older value after a read of the newer one is not linearizable.
    #[test]
    fn is_linearizable_refuses_older_read_after_newer_one() {
        // Of two readers the later one sees the older value.
        assert_is(false, &[(0, 1, Write(1)), (2, 9, Write(2)), (3, 4, Read(2)), (5, 6, Read(1))]);
        // The readers overlap.
        assert_is(true, &[(0, 1, Write(1)), (2, 9, Write(2)), (3, 6, Read(2)), (5, 7, Read(1))]);
    }

    /// Without memory this would take 14! steps.
    #[test]
    fn is_linearizable_tries_no_state_twice() {
        let mut calls: Vec<_> = (0..14).map(|_| (0, 9, Write(1))).collect();
        calls.push((10, 11, Read(2)));
        assert_is(false, &calls);
    }
}
