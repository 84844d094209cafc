//! Seals and opens the blobs of zput, and reads its key files.
//!
//! This crate has no sockets, no files and no clock: bytes, time and randomness are arguments. A
//! server does not depend on it; what a server may know of a blob is in [`zput_proto::envelope`].
//!
//! A blob is sealed for recipients and opened in the order of trust: each type can only be had from
//! the one before it, so a check that is left out does not compile.
//!
//! ```
//! use rand::{rand_core::UnwrapErr, rngs::SysRng};
//! use zput_proto::name::BlobName;
//! use zput_seal::{
//!     aead::Engine,
//!     age::Identity,
//!     blob::{
//!         footer::Provenance,
//!         header::Header,
//!         metadata::Metadata,
//!         open::{Asked, BarePolicy, Vouching},
//!         seal::{SealOptions, Sealer},
//!     },
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rng = &mut UnwrapErr(SysRng);
//! let identity = Identity::generate_hybrid(rng);
//! let name = BlobName::parse("notes.txt")?;
//! let options = SealOptions::new(1, Metadata::new(name));
//! let mut sealer = Sealer::new(options, &[identity.to_recipient()], rng)?;
//! let header = sealer.header().to_vec();
//! let mut part = Vec::new();
//! sealer.seal_part(b"all that I know", rng, &mut part)?;
//! let footer = sealer.finish(Provenance::Bare, rng)?;
//!
//! let vouching = Vouching { vault: None, writers: &[], bare: BarePolicy::Accept };
//! let trusted = Header::parse(&header)?
//!     .unwrap_file_key(&[identity])?
//!     .authenticate(Engine::default())?
//!     .for_key(Asked::Any)?
//!     .vouched_by(&footer.bytes, &vouching)?
//!     .not_older_than(None)?;
//! let mut opening = trusted.open_part(0, Vec::new())?;
//! opening.push(&part)?;
//! assert_eq!(&*opening.finish()?, b"all that I know");
//! # Ok(())
//! # }
//! ```
//!
//! # Floors
//!
//! A module imports from the floors below its own, never from its own floor or above.
//!
//! ```text
//! blob kit     sealed blobs: the states of sealing and opening one; recovery kits
//! vault        certificates and charters: issuing them, and what they seal for members and owners
//! keys         key files; roots, members, epochs and devices of vaults
//! age chunked  recipients and identities; messages of chunks
//! aead         two AEADs, two implementations of each
//! ```

pub mod aead;
pub mod age;
pub mod blob;
pub mod chunked;
pub mod keys;
pub mod kit;
pub mod vault;

#[cfg(test)]
mod tests;
