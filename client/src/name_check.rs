//! It is the blob that was asked for (FORMAT 9, step 4).

use zput_common::{
    blob::open::{Asked, Authenticated, Named},
    name::ObjectKey,
};

use crate::{client::Client, error::ClientError};

impl Client {
    /// The header is that of the object `key`, and the name inside leads there: a listing, a get and a look at a blob
    /// come to one verdict.
    pub(crate) fn named(
        &self,
        authentic: Authenticated,
        key: &ObjectKey,
    ) -> Result<Named, ClientError> {
        let leads_here = self.key_file().object_key(&authentic.metadata().name) == *key;
        let named = authentic.for_key(Asked::Key(key))?;
        if leads_here {
            Ok(named)
        } else {
            Err(ClientError::Envelope("its name leads to another object"))
        }
    }
}
