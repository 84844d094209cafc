//! A vault's certificates and charters, as owners make them and devices read them (FORMAT 10 to
//! 13).
//!
//! What is signed, and what it means, is in [`zput_proto::vault`], which a server shares. Here is
//! what needs secrets: the two sealed parts of a charter, and the signatures.
//!
//! ```text
//! view               what opening a blob needs: the vault under one charter
//! draft              a charter that an owner is about to seal
//! members   owner    the two sealed parts of a charter
//! epochs             the secrets of the epochs
//! issue     role     certificates; what a key file is for
//! ```
//!
//! ```text
//! root ──▶ Owner ──▶ member secret ──▶ Members ──▶ EpochSecrets ──▶ identities
//!                    wrap key ────────▶┘
//! ```
//!
//! A module imports from the rows below its own. This is format 2, which nothing reads or writes
//! yet: numbers of FORMAT in this folder are those of `docs/next/FORMAT.md`.

mod draft;
mod epochs;
mod issue;
mod members;
mod owner;
mod role;
mod view;

#[cfg(test)]
mod tests;

pub use draft::{CharterDraft, DraftError, Handover};
pub use epochs::{EpochError, EpochSecrets};
pub use issue::issue;
pub use members::{Members, MembersError};
pub use owner::{Issued, Owner, OwnerError};
pub use role::Role;
pub use view::{Names, VaultView, ViewError};
