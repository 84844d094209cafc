//! The sealed blob, version 1 (docs/FORMAT.md).
//!
//! ```text
//! blob = header || part 0 || part 1 || … || footer
//!
//! seal   options, recipients ──Sealer::new──▶ Sealer ──seal_part…──▶ ──finish──▶ SealedFooter
//!
//! open   Header ──unwrap_file_key──▶ Unwrapped ──authenticate──▶ Authenticated ──for_key──▶ Named
//!            Named ──vouched_by(footer)──▶ Vouched ──not_older_than──▶ Trusted
//!                      Trusted ──open_part──▶ PartOpening ──finish──▶ OpenedPart: plaintext
//!            Named ──from_pipe──▶ PipeOpener: plaintext first, footer last
//! ```
//!
//! Each arrow is a check of FORMAT 9, and each value can only be had from the one before it: a
//! check that is left out does not compile. The fields of headers and footers are parsed by
//! [`zput_proto::envelope`], which needs no key.

pub mod facts;
pub mod footer;
pub mod header;
pub mod metadata;
pub mod open;
pub mod part;
pub mod pipe;
pub mod reseal;
pub mod seal;
pub mod transcript;

mod derive;
#[cfg(test)]
mod tests;
