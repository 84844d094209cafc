//! zput-tests
