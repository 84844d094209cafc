//! The library with a key file of yours: put, list, get, and open a stretch.
//!
//! ```text
//! cargo run -p zput-examples --example library -- KEYFILE
//! ```
//!
//! `zput FILE` has made one in `~/.config/zput/default.zkey`; `zblob key join` makes one for a server.
//! It must not be under a passphrase, for this program asks nobody.

use std::{io::Cursor, path::PathBuf};

use anyhow::{Context, Result, ensure};
use zput_client::{
    Client,
    directories::Directories,
    get::{ByteRange, GetOptions},
    keystore::KeyPath,
    progress::Silent,
    put::PutOptions,
};
use zput_common::name::BlobName;

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).context("usage: library KEYFILE")?;
    let key_file = KeyPath::at(path).open()?;
    // Where this machine keeps note of the newest version it has seen of each blob.
    let mut client = Client::new(key_file, &Directories::of_user()?)?;
    println!("the key file's server is {}", client.remote());

    // Put: any `Source` will do; bytes in memory are one.
    let numbers: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let name = BlobName::parse("examples/numbers")?;
    let options = PutOptions { sha256: true, ..PutOptions::default() };
    let put = client.put(&name, Cursor::new(numbers.clone()), &options, &Silent)?;
    println!("put {name}: {} bytes, version {}", put.length, put.version.0);

    // List: names are opened here; the server has none.
    for blob in client.list("examples/")?.blobs {
        println!("listed {}: {} bytes, {} stored", blob.metadata.name, blob.length, blob.stored);
    }

    // Get: any `Sink` will do; a vector is one. It gets a part only when that part is verified.
    let mut all = Vec::new();
    client.get(&name, &GetOptions::default(), &mut all, &Silent)?;
    ensure!(all == numbers, "that is not what was put");
    println!("got all of it");

    // A stretch: only the parts that it lies in are fetched.
    let range = ByteRange { start: 17_000_000, end: Some(17_000_008) };
    let options = GetOptions { range: Some(range), ..GetOptions::default() };
    let mut stretch = Vec::new();
    client.get(&name, &options, &mut stretch, &Silent)?;
    ensure!(stretch == [0x00, 0x40, 0xd9, 0x90, 0x00, 0x40, 0xd9, 0x91], "that is another stretch");
    println!("got bytes 17000000 to 17000008: the numbers 4250000 and 4250001");
    Ok(())
}
