//! Into the trash, and out of it.

use zput_common::{
    name::BlobName,
    proto::message::{Condition, Request, Response, Version},
};

use crate::{client::Client, error::ClientError, get::GetOptions, retry::unanswered};

impl Client {
    /// Moves the current version of `name` to the server's trash; gives that version. After a temporary failure it
    /// is tried again until the request is on its way, and no longer: a second one might remove what somebody else
    /// has put meanwhile.
    ///
    /// # Errors
    /// When there is none, or the server refuses.
    pub fn remove(&mut self, name: &BlobName) -> Result<Version, ClientError> {
        let key = self.key_file().object_key(name);
        let request = Request::Delete { key, condition: Condition::Any };
        let connection = self.reach(Some(name.as_str()))?;
        match connection.ask(&request).map_err(unanswered)? {
            Response::Deleted { version } => Ok(version),
            _ => Err(connection.unexpected("not what was deleted").into()),
        }
    }

    /// Whether `name` has a current version.
    ///
    /// # Errors
    /// When the server refuses to say.
    pub fn is_there(&mut self, name: &BlobName) -> Result<bool, ClientError> {
        let request = Request::Stat { key: self.key_file().object_key(name), version: None };
        match self.ask_again(Some(name.as_str()), &request) {
            Ok(Response::Stat { .. }) => Ok(true),
            Ok(_) => Err(self.connection()?.unexpected("not what it knows of the object").into()),
            Err(error) if error.is_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes an earlier or deleted version of `name` the current one; gives its new version. Where the
    /// key file can open it, this machine takes it for the newest from now on.
    ///
    /// # Errors
    /// When there is no such version, the server refuses, or what it restored is not the vault's.
    pub fn restore(&mut self, name: &BlobName, version: Version) -> Result<Version, ClientError> {
        let key = self.key_file().object_key(name);
        let connection = self.reach(Some(name.as_str()))?;
        let request = Request::Restore { key, version };
        let restored = match connection.ask(&request).map_err(unanswered)? {
            Response::Committed { version } => version,
            _ => return Err(connection.unexpected("not what was restored").into()),
        };
        if self.key_file().identity().is_some() {
            let accept = GetOptions { allow_rollback: true, ..GetOptions::default() };
            self.stat(name, &accept)?;
        }
        Ok(restored)
    }
}
