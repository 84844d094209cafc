//! Into the trash.

use zput_common::{
    name::BlobName,
    proto::message::{Condition, Request, Response, Version},
};

use crate::{client::Client, error::ClientError, retry::unanswered};

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
}
