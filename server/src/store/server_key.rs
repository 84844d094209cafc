//! The file of the server's key. The key is made with the store; clients pin its public half.

use std::os::fd::BorrowedFd;

use serde::Deserialize;
use zeroize::Zeroizing;
use zput_proto::keys::ServerKeySeed;

use super::{
    error::StoreError,
    fsync::Fsync,
    layout::{FORMAT, SERVER_KEY_FILE},
    random, small_file,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerKeyFile {
    format: u64,
    seed: String,
}

impl Drop for ServerKeyFile {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.seed.zeroize();
    }
}

/// Reads the store's key, which must exist.
pub(super) fn read(root: BorrowedFd<'_>) -> Result<ServerKeySeed, StoreError> {
    let text = small_file::read(root, SERVER_KEY_FILE, SERVER_KEY_FILE)?;
    parse(&text.ok_or_else(|| StoreError::Missing(SERVER_KEY_FILE.to_owned()))?)
}

/// Parses the text of the key's file.
pub(super) fn parse(text: &str) -> Result<ServerKeySeed, StoreError> {
    let damaged = StoreError::Damaged(SERVER_KEY_FILE);
    let Ok(file) = toml::from_str::<ServerKeyFile>(text) else {
        return Err(damaged);
    };
    let mut seed = Zeroizing::new([0; 32]);
    match hex::decode_to_slice(file.seed.as_bytes(), &mut *seed) {
        Ok(()) if file.format == FORMAT => Ok(ServerKeySeed::from_bytes(*seed)),
        _ => Err(damaged),
    }
}

/// Creates a key, unless an interrupted creation of the store has made one.
pub(super) fn create(fsync: &Fsync) -> Result<(), StoreError> {
    if small_file::read(fsync.root(), SERVER_KEY_FILE, SERVER_KEY_FILE)?.is_some() {
        return Ok(());
    }
    let seed = Zeroizing::new(random::bytes::<32>()?);
    let seed = Zeroizing::new(hex::encode(*seed));
    let text = Zeroizing::new(format!(
        "# The key that this server proves itself with. Clients pin its public half: back this\n\
         # file up, and keep it secret.\n\
         format = {FORMAT}\n\
         seed = \"{}\"\n",
        *seed
    ));
    small_file::write(fsync, fsync.root(), ".", SERVER_KEY_FILE, &text)
}
