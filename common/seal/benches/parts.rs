//! Sealing and opening one part of 16 MiB, per suite and engine, in bytes of plaintext per second.
//!
//! `open` does what a get does with each part: digest, chunks, comparison with the footer. The
//! ciphertext comes in pieces of 256 KiB, as from a socket, and once more in small ones.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;
use zput_proto::digest::Digest;
use zput_proto::name::BlobName;
use zput_seal::aead::{Engine, Suite};
use zput_seal::age::Identity;
use zput_seal::blob::footer::Provenance;
use zput_seal::blob::header::Header;
use zput_seal::blob::metadata::Metadata;
use zput_seal::blob::open::{Asked, BarePolicy, Trusted, Vouching};
use zput_seal::blob::seal::{SealOptions, Sealer};

const PART_BYTES: usize = 16 << 20;

fn options(suite: Suite, engine: Engine) -> SealOptions {
    let name = BlobName::parse("bench").unwrap();
    let mut options = SealOptions::new(1, Metadata::new(name));
    options.suite = suite;
    options.engine = engine;
    options
}

/// A blob of one full part and an empty one: what opens it, and the full part.
fn blob(suite: Suite, engine: Engine, plaintext: &[u8], rng: &mut StdRng) -> (Trusted, Vec<u8>) {
    let identity = Identity::generate_x25519(rng);
    let mut sealer = Sealer::new(options(suite, engine), &[identity.to_recipient()], rng).unwrap();
    let (mut part, mut last) = (Vec::new(), Vec::new());
    sealer.seal_part(plaintext, rng, &mut part).unwrap();
    sealer.seal_part(b"", rng, &mut last).unwrap();
    let header = Header::parse(sealer.header()).unwrap();
    let footer = sealer.finish(Provenance::Bare, rng).unwrap();
    let vouching = Vouching { vault: None, writers: &[], bare: BarePolicy::Accept };
    let trusted = header
        .unwrap_file_key(&[identity])
        .and_then(|unwrapped| unwrapped.authenticate(engine))
        .and_then(|authenticated| authenticated.for_key(Asked::Any))
        .and_then(|named| named.vouched_by(&footer.bytes, &vouching))
        .and_then(|vouched| vouched.not_older_than(None))
        .unwrap();
    (trusted, part)
}

fn parts(criterion: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    let plaintext: Vec<u8> = (0..PART_BYTES).map(|i| (i ^ (i >> 9)) as u8).collect();

    let mut group = criterion.benchmark_group("part");
    group.throughput(Throughput::Bytes(PART_BYTES as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.bench_function("digest", |bencher| bencher.iter(|| Digest::of(black_box(&plaintext))));
    for suite in Suite::ALL {
        for &engine in Engine::ALL {
            let name = format!("{suite}/{engine:?}");
            let identity = Identity::generate_x25519(&mut rng);
            group.bench_function(BenchmarkId::new("seal", &name), |bencher| {
                let recipients = [identity.to_recipient()];
                let new = |rng: &mut StdRng| Sealer::new(options(suite, engine), &recipients, rng);
                let mut sealer = new(&mut rng).unwrap();
                let mut sealed = Vec::new();
                bencher.iter(|| sealer.seal_part(&plaintext, &mut rng, &mut sealed).unwrap());
            });
            let (trusted, part) = blob(suite, engine, &plaintext, &mut rng);
            for piece in [256 << 10, 16 << 10] {
                let name = format!("{name}/{}KiB", piece >> 10);
                group.bench_function(BenchmarkId::new("open", name), |bencher| {
                    let mut buffer = Vec::new();
                    bencher.iter(|| {
                        let recycled = std::mem::take(&mut buffer);
                        let mut opening = trusted.open_part(0, recycled).unwrap();
                        for bytes in part.chunks(piece) {
                            opening.push(bytes).unwrap();
                        }
                        buffer = opening.finish().unwrap().into_buffer();
                    });
                });
            }
        }
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
