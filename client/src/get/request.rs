//! Requests for an object, and what comes back before its parts.

use zput_proto::{
    message::{Info, Request, Response, Version},
    name::ObjectKey,
};
use zput_seal::blob::open::Trusted;

use crate::{connection::Connection, error::Error};

/// An authenticated blob of which no part was opened yet.
pub(crate) struct BlobHead {
    pub(crate) info: Info,
    pub(crate) recipients: usize,
    pub(crate) trusted: Trusted,
    /// Header and footer as the server sent them.
    pub(crate) header: Vec<u8>,
    pub(crate) footer: Vec<u8>,
}

/// A request for a blob's header and footer.
#[derive(Clone, Copy)]
pub(crate) struct HeadRequest<'a> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) version: Option<Version>,
    pub(crate) allow_rollback: bool,
    /// Whether the parts follow on the connection.
    pub(crate) body: bool,
}

/// The server's answer to Get.
pub(super) struct ObjectAnswer {
    pub(super) info: Info,
    pub(super) header: Option<Vec<u8>>,
    /// Bytes of payload that follow.
    pub(super) payload: u64,
}

/// Requests sections of an object.
pub(super) fn request_object(
    connection: &mut Connection,
    request: &Request,
) -> Result<ObjectAnswer, Error> {
    match connection.call(request)? {
        Response::Object { info, header, payload } => Ok(ObjectAnswer { info, header, payload }),
        _ => Err(connection.unexpected("not the object").into()),
    }
}
