//! Which uploads are under way in this process, by their resume names: also those that are too small to be kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zput_common::proto::message::HeaderSlice;

use super::{
    Store, Writer,
    layout::resume_name,
    lease::{Lease, WeakLease},
    upload::Received,
};

/// The uploads of a store that live, as many as may be open at most; and those that are about to begin, one a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashMap<String, Named>>>);

/// What is under way by one name.
#[derive(Debug)]
struct Named {
    /// How many.
    count: usize,
    /// Of the one that began last.
    lease: WeakLease<Received>,
}

/// One of them; it is under way for as long as this lives.
#[derive(Debug)]
pub(crate) struct Entered {
    all: UnderWay,
    name: String,
}

/// A connection that is not older has the upload.
#[derive(Debug)]
pub(super) struct NotNewer;

impl Store {
    /// Notes an upload of `writer` with this header that is about to begin.
    pub(crate) fn expect(&self, writer: &Writer, header: &HeaderSlice) -> Entered {
        self.0.under_way.enter(&resume_name(writer.device.as_ref(), &header.digest))
    }
}

impl UnderWay {
    /// Notes an upload. Two with the same header are counted apart: the name is free once both have ended.
    pub(super) fn enter(&self, name: &str) -> Entered {
        let mut names = self.names();
        let new = || Named { count: 0, lease: WeakLease::new() };
        names.entry(name.to_owned()).or_insert_with(new).count += 1;
        Entered { all: self.clone(), name: name.to_owned() }
    }

    /// Whether one with this name lives.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names().contains_key(name)
    }

    /// The lease of the one that has begun, while it receives.
    pub(super) fn lease(&self, name: &str) -> Option<Lease<Received>> {
        self.names().get(name)?.lease.upgrade()
    }

    /// Makes this the lease of an upload that has entered. Gives the one of an older connection, which is to be revoked.
    ///
    /// # Errors
    /// [`NotNewer`] when a newer connection has the upload.
    pub(super) fn install(
        &self,
        name: &str,
        lease: &Lease<Received>,
    ) -> Result<Option<Lease<Received>>, NotNewer> {
        let found = {
            let mut names = self.names();
            let Some(named) = names.get_mut(name) else { return Ok(None) };
            let found = named.lease.upgrade();
            if found.as_ref().is_none_or(|found| found.holder() <= lease.holder()) {
                named.lease = lease.downgrade();
            }
            // Dropped when the names are free: it may be the last that keeps an upload, which takes its name out.
            found
        };
        match found {
            Some(found) if found.holder() > lease.holder() => Err(NotNewer),
            found => Ok(found.filter(|found| found.holder() < lease.holder())),
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Named>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut names = self.all.names();
        if let Some(named) = names.get_mut(&self.name) {
            named.count -= 1;
            if named.count == 0 {
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
