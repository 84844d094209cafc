//! FORMAT 9, step 4: the blob is the one that was asked for.

use zput_proto::name::ObjectKey;
use zput_seal::blob::open::{Asked, Authenticated, Named};

use crate::{error::Error, session::Session};

impl Session {
    /// Checks that the header belongs to the object `key` and that the name in it maps to this key.
    /// Listing, get and stat share this check.
    ///
    /// # Errors
    /// [`Error::Envelope`] when the name maps to another object, and those of
    /// [`Authenticated::for_key`].
    pub(crate) fn check_name(
        &self,
        authentic: Authenticated,
        key: &ObjectKey,
    ) -> Result<Named, Error> {
        let leads_here = self.key_file().object_key(&authentic.metadata().name) == *key;
        let named = authentic.for_key(Asked::Key(key))?;
        if leads_here {
            Ok(named)
        } else {
            Err(Error::Envelope("its name leads to another object"))
        }
    }
}
