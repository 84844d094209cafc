//! The uploads in progress in this process, by their resume names, including those too small to be
//! kept.

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

/// The uploads of a store that are in progress, at most as many as may be open; and those that are
/// about to begin, at most one for each connection.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<String, Entry>>>);

/// The uploads in progress with one name.
#[derive(Debug)]
struct Entry {
    /// Number of uploads with the name.
    count: usize,
    /// The lease of the one that began last.
    lease: WeakLease<Received>,
}

/// Registers one upload; it counts as in progress as long as this value lives.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    all: InFlight,
    name: String,
}

/// A connection that is not older has the upload.
#[derive(Debug)]
pub(super) struct NotNewer;

impl Store {
    /// Registers an upload of `writer` with this header that is about to begin.
    pub(crate) fn register_upload(&self, writer: &Writer, header: &HeaderSlice) -> InFlightGuard {
        self.0.in_flight.insert(&resume_name(writer.device.as_ref(), &header.digest))
    }
}

impl InFlight {
    /// Registers an upload. Two with the same header are counted apart: the name is free once both
    /// have ended.
    pub(super) fn insert(&self, name: &str) -> InFlightGuard {
        let mut names = self.names();
        let new = || Entry { count: 0, lease: WeakLease::new() };
        names.entry(name.to_owned()).or_insert_with(new).count += 1;
        InFlightGuard { all: self.clone(), name: name.to_owned() }
    }

    /// Whether an upload with this name is in progress.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names().contains_key(name)
    }

    /// The lease of the upload with this name, while it receives.
    pub(super) fn lease(&self, name: &str) -> Option<Lease<Received>> {
        self.names().get(name)?.lease.upgrade()
    }

    /// Makes `lease` that of a registered upload. Returns the lease of an older connection, which
    /// the caller must revoke.
    ///
    /// # Errors
    /// [`NotNewer`] when a newer connection has the upload.
    pub(super) fn set_lease(
        &self,
        name: &str,
        lease: &Lease<Received>,
    ) -> Result<Option<Lease<Received>>, NotNewer> {
        let older = {
            let mut names = self.names();
            let Some(entry) = names.get_mut(name) else { return Ok(None) };
            let older = entry.lease.upgrade();
            if older.as_ref().is_none_or(|older| older.holder() <= lease.holder()) {
                entry.lease = lease.downgrade();
            }
            // Dropped after the lock is released: it may be the last reference to an upload, whose
            // guard takes the lock.
            older
        };
        match older {
            Some(older) if older.holder() > lease.holder() => Err(NotNewer),
            older => Ok(older.filter(|older| older.holder() < lease.holder())),
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut names = self.all.names();
        if let Some(entry) = names.get_mut(&self.name) {
            entry.count -= 1;
            if entry.count == 0 {
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
        let all = InFlight::default();
        let (first, second) = (all.insert("a"), all.insert("a"));
        assert!(all.contains("a") && !all.contains("b"));
        drop(first);
        assert!(all.contains("a"));
        drop(second);
        assert!(!all.contains("a") && all.names().is_empty());
    }
}
