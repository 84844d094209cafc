//! Certificates and charters: what a root says of the devices of its vault, without any secret.
//!
//! ```text
//! root key ──signs──▶ charter        which epoch is in force, which devices are shut out
//!          └─signs──▶ certificate    what one device may do
//!
//! owner                      may one device replace what another one wrote
//! certificate                what one device may do; whether that counts under a state
//! charter                    a signed state; whether it follows another one
//! state                      roots, epochs, revoked devices, kept certificates
//! id   scopes   order        names and digests; rights; epochs and generations
//! ```
//!
//! The first lines say what is signed; below them a module imports from the rows below its own.
//!
//! This is format 2, which nothing reads or writes yet: numbers of FORMAT in this folder are those
//! of `docs/next/FORMAT.md`. Signing is in `zput-seal`; here is what is signed, so that the framing
//! exists once.
//!
//! A [`State`] comes out of a [`HeldCharter`] only, which exists only if its signatures hold; a
//! [`Held`] certificate comes out of a state, and [`Counts`] out of that. So no check can be left
//! out.
//!
//! ```
//! use zput_proto::{
//!     keys::{Algorithm, DevicePublicKey, SigningPublicKey},
//!     vault::{CertificateFields, PrefixTag, Scopes, VaultId},
//! };
//!
//! // Points of the curve, here those of RFC 8032, 7.1.
//! let point = |text| -> [u8; 32] { hex::decode(text).unwrap().try_into().unwrap() };
//! let root = point("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
//! let device = point("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
//!
//! let fields = CertificateFields {
//!     root: 0,
//!     vault: VaultId::of(&SigningPublicKey::parse(Algorithm::Ed25519, &root)?),
//!     scopes: Scopes::GET.and(Scopes::LIST),
//!     not_after: 0,
//!     prefix: PrefixTag::EVERY_NAME,
//!     device: DevicePublicKey::from_bytes(device),
//!     writer: None,
//!     extensions: Vec::new(),
//! };
//! // The bytes that the root signs: a label of 20 bytes, and 111 bytes of certificate.
//! assert_eq!(fields.to_sign()?.len(), 20 + 111);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod certificate;
mod charter;
mod id;
mod order;
mod owner;
mod scopes;
mod state;

#[cfg(test)]
mod tests;

pub use certificate::{Certificate, CertificateError, CertificateFields, Counts, Held};
pub use charter::{CharterError, CharterFields, Follows, HeldCharter, Recipients};
pub use id::{CertificateDigest, CharterTag, PrefixTag, StateDigest, VaultId};
pub use order::{Epoch, GenerationError, Order};
pub use owner::may_replace;
pub use scopes::Scopes;
pub use state::{State, StateError, StateFields, Succession};
