//! The functions under fuzz over all inputs that were ever worth keeping, and over some random
//! ones.

#[path = "../../../fuzz/targets/mod.rs"]
mod targets;

use std::{fs, path::PathBuf};

use proptest::prelude::*;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// Every fuzz target of the common crate passes all inputs of its corpus.
#[test]
fn fuzz_targets_pass_every_corpus_input() {
    for (name, _) in targets::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus().join(name)).unwrap() {
            targets::run(name, &fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}

/// Every corpus folder has a fuzz target that runs under its name.
#[test]
fn fuzz_corpus_folders_match_fuzz_targets() {
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bin = corpus().join(format!("../fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(bin).unwrap();
        // Those of the server are replayed by the server's tests.
        if !source.contains("../targets/server/mod.rs") {
            assert!(targets::TARGETS.iter().any(|(known, _)| *known == name), "{name}");
        }
        assert!(source.contains(&format!("targets::run(\"{name}\", input)")), "{name}");
    }
}

proptest! {
    /// Steps of a few bytes with the beginnings of real messages among them.
    #[test]
    fn fuzz_targets_pass_random_input(
        start: u8,
        asked: u8,
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                (0..20_u8, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(number, fields)| {
                    let mut step = vec![fields.len() as u8 + 5, 0, 0, 0, fields.len() as u8 + 1];
                    step.push(number);
                    step.extend(fields);
                    step
                }),
            ],
            0..20,
        ),
    ) {
        let input = [vec![start, asked], pieces.concat()].concat();
        for (_, target) in targets::TARGETS {
            target(&input);
            target(&input[1..]);
            target(&input[2..]);
        }
    }
}
