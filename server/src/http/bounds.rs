//! Bounds of a head.

/// Maximum bytes of a head: request line, fields and the empty line behind them.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Maximum bytes of a request target. RFC 9112, 3: "It is RECOMMENDED that all HTTP senders
/// and recipients support, at a minimum, request-line lengths of 8000 octets."
pub const TARGET_MAX_BYTES: usize = 8 * 1024;

/// Maximum field lines of a request.
pub const FIELDS_MAX: usize = 64;

/// Bytes that a connection keeps of each of its buffers between two requests. A request with a head
/// of at most this length allocates nothing; memory for a longer one is released.
pub const KEPT_BYTES: usize = 4 * 1024;
