//! The library with a key file of yours: put, list, get, and open a range.
//!
//! ```text
//! cargo run -p zput-examples --example library -- KEYFILE
//! ```
//!
//! `zput FILE` has made one in `~/.config/zput/default.zkey`; `zblob key join` makes one for a
//! server. It must not be under a passphrase, because this program asks nobody.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use zput::Client;

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).context("usage: library KEYFILE")?;
    let mut client = Client::open(path)?;
    println!("the key file's server is {}", client.remote());

    // Put: bytes in memory, a path, or anything that can be read.
    let numbers: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let name = "examples/numbers";
    let put = client.put_with(name, numbers.clone()).sha256(true).send()?;
    println!("put {name}: {} bytes, version {}", put.length, put.version);

    // List: names are opened here; the server has none.
    for blob in client.list("examples/")? {
        println!("listed {}: {} bytes, {} stored", blob.name, blob.length, blob.stored);
    }

    // Get: each part is verified before any of it is handed out.
    ensure!(client.get(name)?.read_to_vec()? == numbers, "that is not what was put");
    println!("got all of it");

    // A range: only the parts that contain it are fetched.
    let range = client.get(name)?.range(17_000_000..17_000_008).read_to_vec()?;
    ensure!(range == [0x00, 0x40, 0xd9, 0x90, 0x00, 0x40, 0xd9, 0x91], "that is another range");
    println!("got bytes 17000000 to 17000008: the numbers 4250000 and 4250001");
    Ok(())
}
