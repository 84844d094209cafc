//! zput-examples
