//! A server and a client in one program, over TLS on loopback: a file goes there and comes back.
//!
//! ```text
//! cargo run -p zput-examples --example quickstart
//! ```

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use zput::{Client, KeyFile, Scopes};
use zput_proto::mount::MountName;
use zput_server::{
    Server, ServerOptions, invite,
    mounts::{Mounts, Policy},
    store::{Clock, Store},
};

fn main() -> Result<()> {
    let home = tempfile::tempdir()?;
    let at = |name: &str| home.path().join(name);

    // The server: a store is a directory, port 0 is any free port.
    let store = Store::open(&at("store"), Clock::system())?;
    let mounts = Mounts::of_store(store.clone(), Policy::PRIVATE);
    let options = ServerOptions::new(mounts, vec!["127.0.0.1:0".parse()?]);
    let server = Server::bind(options)?.spawn()?;
    let address = server.addresses()[0].to_string();
    println!("a server listens on {address}");

    // Its operator lets one device in. The invite holds the server's key, which the client pins.
    let invite = invite::create(
        &store,
        &address.parse()?,
        &MountName::ROOT,
        Scopes::ALL,
        Duration::from_secs(60),
    )?;

    // The client: a key file is its whole capability. A real one is saved, and backed up.
    let mut key_file = KeyFile::generate(&mut rand::rng());
    key_file.accept(&invite);
    let mut client = Client::builder().key(key_file).state_dir(at("state")).open()?;
    let scopes = client.join(&invite, "quickstart")?;
    println!("this device joined, and may {scopes}");

    // Put: sealed here, before anything leaves.
    let plans = "the plans\n".repeat(2_000_000);
    fs::write(at("plans.txt"), &plans)?;
    let put = client.put("plans/first", at("plans.txt"))?;
    println!("put {} bytes as plans/first; the server knows it as {}", put.length, put.key);

    // Get: the file appears when all of it is verified, and not before.
    let got = client.get("plans/first")?.save_to(at("again.txt"))?;
    println!("got {} bytes of version {}", got.length, got.version);

    ensure!(got.version == put.version, "that is another version");
    ensure!(fs::read_to_string(at("again.txt"))? == plans, "that is not what was put");
    println!("they are the same");
    Ok(())
}
