//! Which uploads are under way in this process, by their resume names: also those that are too small to be kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The uploads of a store that live. There are no more than may be open.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashMap<String, usize>>>);

/// One of them; it is under way for as long as this lives.
#[derive(Debug)]
pub(super) struct Entered {
    all: UnderWay,
    name: String,
}

impl UnderWay {
    /// Notes an upload. Two with the same header are counted apart: the name is free once both have ended.
    pub(super) fn enter(&self, name: &str) -> Entered {
        *self.names().entry(name.to_owned()).or_default() += 1;
        Entered { all: self.clone(), name: name.to_owned() }
    }

    /// Whether one with this name lives.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names().contains_key(name)
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut names = self.all.names();
        if let Some(count) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_under_way_as_long_as_any_of_its_name_lives() {
        let all = UnderWay::default();
        let (first, second) = (all.enter("a"), all.enter("a"));
        assert!(all.has("a") && !all.has("b"));
        drop(first);
        assert!(all.has("a"));
        drop(second);
        assert!(!all.has("a") && all.names().is_empty());
    }
}
