//! The beginning of an upload.

use zput_proto::{
    message::{Condition, HeaderSlice, Kind},
    name::ObjectKey,
};

use super::{
    commit,
    error::StoreError,
    in_flight::InFlightGuard,
    layout::resume_name,
    open_store::Store,
    upload::{Target, Upload},
    writer::Writer,
};

impl Store {
    /// Registers an upload of `writer` with this header that is about to begin.
    pub(crate) fn register_upload(&self, writer: &Writer, header: &HeaderSlice) -> InFlightGuard {
        self.0.in_flight.insert(&resume_name(writer.device.as_ref(), &header.digest))
    }

    /// Begins an upload. A condition that does not hold now is refused at once; the commit checks
    /// it again.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`StoreError::TooManyUploads`]; [`StoreError::Suspect`];
    /// [`StoreError::ClockLost`] while the file of version numbers is made anew.
    pub fn begin(
        &self,
        key: &ObjectKey,
        kind: Kind,
        condition: Condition,
        writer: impl Into<Writer>,
    ) -> Result<Upload, StoreError> {
        self.check_writable()?;
        self.check_clock()?;
        let Writer { device: client, connection } = writer.into();
        let target = Target { key: key.clone(), kind, condition, client };
        commit::check_early(self, &target)?;
        Upload::begin(self.clone(), target, connection)
    }
}
