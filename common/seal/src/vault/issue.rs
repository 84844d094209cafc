//! Certificates, as an owner issues them (FORMAT 12).

use zput_proto::vault::{Certificate, CertificateError, CertificateFields};

use crate::keys::root::RootSigner;

/// The certificate with these fields, signed by `root`. Whether that is the root which the fields
/// name, a charter says: [`CharterDraft::note`](super::CharterDraft::note) has it looked at.
///
/// # Errors
/// Says which rule of FORMAT 12 the fields break.
pub fn issue(
    fields: &CertificateFields,
    root: &RootSigner,
) -> Result<Certificate, CertificateError> {
    fields.signed(&root.sign(&fields.to_sign()?))
}
