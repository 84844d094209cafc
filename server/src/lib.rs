//! zput-server
