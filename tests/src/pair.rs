//! A machine, its server, and a proxy between them.

use crate::{Cutter, Machine, ServerProcess};

/// The store of the server is in the home of the machine.
#[derive(Debug)]
pub struct Pair {
    /// The machine, whose key file leads to the line.
    pub home: Machine,
    /// The server.
    pub server: ServerProcess,
    /// The proxy between them.
    pub line: Cutter,
}

impl Pair {
    /// The server's arguments: anonymous peers may do all operations.
    pub const ARGUMENTS: [&str; 2] = ["--anonymous", "put,get,list,delete"];

    /// In `plaintext` mode, where a test can read what was sent. Its server is started with
    /// `arguments` besides.
    ///
    /// # Panics
    /// When the server does not start, or no key file can be made.
    #[must_use]
    pub fn in_clear(arguments: &[&str]) -> Self {
        let home = Machine::new();
        let arguments = [&Self::ARGUMENTS, arguments].concat();
        let server = ServerProcess::start(&home.path().join("store"), &arguments);
        let line = Cutter::new(server.address());
        let _made = home.run("zblob key", ["new"]).ok();
        home.set_key_field("mode", "plaintext");
        home.turn_to(&format!("zput://{}", line.address()));
        Self { home, server, line }
    }
}
