//! A footer behind the golden header: only the golden one is vouched for.

use zput_seal::{
    aead::Engine,
    blob::{
        header::Header,
        open::{Asked, BarePolicy, Named, OpenError, Vouching},
    },
};

use super::golden::{GOLDEN, Golden};

pub(crate) fn run(input: &[u8]) {
    let Some(golden) = &*GOLDEN else {
        panic!("the golden blob does not come apart");
    };
    let Ok(named) = named(golden) else {
        panic!("the golden header does not open");
    };
    let vouching = Vouching { vault: Some(&golden.vault), writers: &[], bare: BarePolicy::Accept };
    let vouched = named.vouched_by(input, &vouching).is_ok();
    assert_eq!(vouched, input == golden.footer);
}

fn named(golden: &Golden) -> Result<Named, OpenError> {
    Header::parse(golden.header)?
        .unwrap_file_key(std::slice::from_ref(&golden.identity))?
        .authenticate(Engine::RustCrypto)?
        .for_key(Asked::Any)
}
