//! Every attack of SECURITY.md, played against the real client and the real server.

mod harness;
