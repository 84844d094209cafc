//! Every bound of the format and the protocol, with its unit in its name.

/// Longest object key, in bytes (FORMAT 3).
pub const OBJECT_KEY_MAX_BYTES: usize = 1024;
/// Longest name, in bytes of UTF-8 (FORMAT 10).
pub const NAME_MAX_BYTES: usize = 1024;
/// Longest header, magic to MAC (FORMAT 3).
pub const HEADER_MAX_BYTES: usize = 65_536;
/// Most recipient stanzas in a header (FORMAT 3).
pub const RECIPIENTS_MAX: usize = 32;
/// Most parts in a blob (FORMAT 6).
pub const PARTS_MAX: u64 = 262_144;
/// Longest sealed facts of a footer (FORMAT 7).
pub const FACTS_MAX_BYTES: usize = 1024;
/// Longest key file (FORMAT 11).
pub const KEY_FILE_MAX_BYTES: usize = 65_536;

/// Longest metadata of a blob, before it is sealed (docs/next/FORMAT 5).
pub const METADATA_MAX_BYTES: usize = 49_152;
/// Longest list of the packs that a folder needs (docs/next/FORMAT 7).
pub const REFERENCES_MAX_BYTES: usize = 16_760_832;
/// Most packs that a folder needs (docs/next/FORMAT 7).
pub const PACKS_MAX: usize = 65_536;
/// Longest footer without its tail (docs/next/FORMAT 18).
pub const FRONT_MAX_BYTES: usize = 25_150_470;
/// Longest field for a tail; a tail has at most 12,408 bytes (docs/next/PROTOCOL 4).
pub const TAIL_FIELD_MAX_BYTES: usize = 16_384;
/// Longest certificate (docs/next/FORMAT 12).
pub const CERTIFICATE_MAX_BYTES: usize = 8192;
/// Longest signature of a certificate, of any algorithm (docs/next/FORMAT 18).
pub const SIGNATURE_MAX_BYTES: usize = 4096;
/// Longest charter (docs/next/FORMAT 13).
pub const CHARTER_MAX_BYTES: usize = 114_688;
/// Most epochs of a vault: the last one is one below (docs/next/FORMAT 13).
pub const EPOCHS_MAX: usize = 1024;
/// Most roots of a vault, one after the other (docs/next/FORMAT 13).
pub const ROOTS_MAX: usize = 16;
/// Most devices that a charter revokes (docs/next/FORMAT 13).
pub const REVOKED_MAX: usize = 2048;
/// Most certificates of older roots that a charter keeps (docs/next/FORMAT 13).
pub const KEPT_MAX: usize = 4096;
/// Most recipients of a vault beside the epoch's own (docs/next/FORMAT 13).
pub const FURTHER_MAX: usize = 30;

/// Most identities in an identity file.
pub const IDENTITIES_MAX: usize = 32;
/// Longest host name of a remote, in bytes (RFC 1035, 2.3.4, without its length octets).
pub const HOST_MAX_BYTES: usize = 253;
/// Longest path of a remote, in bytes of UTF-8 (Linux's PATH_MAX without its NUL).
pub const REMOTE_PATH_MAX_BYTES: usize = 4095;

/// Longest body of a control frame (PROTOCOL 3).
pub const FRAME_MAX_BYTES: usize = 131_072;
/// Longest slice: a sealed part of 16 MiB and room for what a later part needs (PROTOCOL 9).
pub const SLICE_MAX_BYTES: u32 = 16_842_752;
/// Most requests that may be unanswered on one connection (PROTOCOL 9).
pub const PIPELINE_MAX: usize = 64;
/// Shortest limit of a slice that a server may state: a sealed part of 16 MiB (PROTOCOL 1).
pub const SERVER_SLICE_MIN_BYTES: u32 = 16_793_672;
/// Fewest unanswered requests that a server must accept (PROTOCOL 1).
pub const SERVER_PIPELINE_MIN: u16 = 8;
/// Shortest idle time that a server may state (PROTOCOL 1).
pub const SERVER_IDLE_MIN_SECONDS: u32 = 1;
/// Most sections of one Get (PROTOCOL 5).
pub const SECTIONS_MAX: usize = 64;
/// Most slices of one Claim (PROTOCOL 5).
pub const CLAIM_MAX_SLICES: usize = 64;
/// Most entries in one page of a listing (PROTOCOL 6).
pub const PAGE_MAX_ENTRIES: u32 = 1000;
/// Longest cursor of a listing, in bytes; the cursor of a tree of files is a path (PROTOCOL 5).
pub const CURSOR_MAX_BYTES: usize = 1024;
/// Longest name of a mount, in bytes of UTF-8 (PROTOCOL 5).
pub const MOUNT_NAME_MAX_BYTES: usize = 255;
/// Longest label of a device, in bytes of UTF-8 (PROTOCOL 5).
pub const LABEL_MAX_BYTES: usize = 64;
/// Longest text of an error answer, in bytes of UTF-8 (PROTOCOL 6).
pub const ERROR_TEXT_MAX_BYTES: usize = 256;
/// Time for the hello and the TLS handshake (PROTOCOL 9).
pub const HANDSHAKE_SECONDS: u64 = 10;
/// Time without a byte in either direction after which a server closes (PROTOCOL 9).
pub const IDLE_SECONDS: u32 = 120;
/// Time without a byte in either direction after which a client gives up on a payload, or on an
/// answer that takes a server no time: the connection is dead, or something on its way drops bytes.
pub const SILENCE_SECONDS: u64 = 60;
/// Time without a byte in either direction after which a client gives up on any other answer: the
/// commit of a large blob may sync for minutes. TCP keepalive notices a dead connection earlier.
pub const ANSWER_SECONDS: u64 = 600;
/// Longest TLS record with its 5-byte header (RFC 8446, 5.2).
pub const TLS_RECORD_MAX_BYTES: usize = 16_640 + 5;
