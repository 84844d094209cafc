//! A put: source → seal → upload → commit.
//!
//! ```text
//! read ──plaintext──▶ seal ──ciphertext, digest──▶ calling thread ──slices──▶ server
//!      ◀───buffers───   │  ◀────────buffers───────                ◀─answers─
//!                       ▼
//!                    journal   for a file of several parts: what a later put needs to resume
//! ```
//!
//! At most two plaintext and two sealed buffers of one part each (16 MiB) are allocated, whatever
//! the file's length. Requests are sent without waiting for answers, up to a window, so a small put
//! is one round trip. The client sends Commit only after the source has confirmed that it did not
//! change while it was read.
//!
//! A file is put again after a temporary failure, from where its journal ends if it has one. A
//! stream, which can be read only once, resumes from the sealed parts that are still in memory, as
//! long as the server keeps the upload.

mod attempt;
mod batch;
mod commit;
mod context;
mod in_doubt;
mod options;
pub(crate) mod pipeline;
mod resume;
mod single;
mod stream;
mod unsealed;
pub(crate) mod upload;

pub(crate) use self::context::generation_after;
pub use self::{
    batch::{JOBS, JOBS_MAX, NamedFile},
    options::{PutOptions, PutReceipt, Resume},
};
