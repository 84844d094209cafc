//! Moves blobs to the trash.

use zput_proto::{
    message::{Condition, Request, Response, Version},
    name::BlobName,
};

use crate::{error::Error, retry::outcome_unknown, session::Session};

impl Session {
    /// Moves the current version of `name` to the server's trash; returns that version. Temporary
    /// failures are retried until the request was sent, and not after: a second request might
    /// remove a version that was put meanwhile.
    ///
    /// # Errors
    /// When there is no current version, or the server refuses.
    pub fn remove(&mut self, name: &BlobName) -> Result<Version, Error> {
        let key = self.key_file().object_key(name);
        let request = Request::Delete { key, condition: Condition::Any };
        let connection = self.probed_connection(Some(name.as_str()))?;
        match connection.call(&request).map_err(outcome_unknown)? {
            Response::Deleted { version } => Ok(version),
            _ => Err(connection.unexpected("not what was deleted").into()),
        }
    }

    /// Whether `name` has a current version.
    ///
    /// # Errors
    /// When the server refuses to say.
    pub fn exists(&mut self, name: &BlobName) -> Result<bool, Error> {
        let request = Request::Stat { key: self.key_file().object_key(name), version: None };
        match self.call_with_retries(Some(name.as_str()), &request) {
            Ok(Response::Stat { .. }) => Ok(true),
            Ok(_) => Err(self.connection()?.unexpected("not what it knows of the object").into()),
            Err(error) if error.is_no_such_object() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
