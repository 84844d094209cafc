//! Bounds of a head.

/// The longest head that is read: request line, fields and the empty line behind them.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;

/// The longest request target that is read. RFC 9112, 3: "It is RECOMMENDED that all HTTP senders
/// and recipients support, at a minimum, request-line lengths of 8000 octets."
pub const TARGET_MAX_BYTES: usize = 8 * 1024;

/// The most field lines that a request may have.
pub const FIELDS_MAX: usize = 64;

/// What a connection keeps of each of its buffers between two requests. Up to heads of this length
/// a request allocates nothing; a connection that once had a longer one does not hold on to it.
pub const KEPT_BYTES: usize = 4 * 1024;
