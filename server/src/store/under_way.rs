//! Which uploads are under way in this process, by their resume names: also those that are too small to be kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zput_common::{keys::DevicePublicKey, proto::message::HeaderSlice};

use super::{Store, layout::resume_name};

/// The uploads of a store that live, as many as may be open at most; and those that are about to begin, one a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashMap<String, usize>>>);

/// One of them; it is under way for as long as this lives.
#[derive(Debug)]
pub(crate) struct Entered {
    all: UnderWay,
    name: String,
}

impl Store {
    /// Notes an upload of `client` with this header that is about to begin.
    pub(crate) fn expect(&self, client: Option<&DevicePublicKey>, header: &HeaderSlice) -> Entered {
        self.0.under_way.enter(&resume_name(client, &header.digest))
    }
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
