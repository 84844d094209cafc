//! zput-client
