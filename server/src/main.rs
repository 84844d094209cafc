//! `zserve`: the zput server.

fn main() {}
