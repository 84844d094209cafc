//! The floors of each crate: an import goes down only, and no files import one another in a circle.
//!
//! The floors are those of the diagram in the crate's `lib.rs`, which docs/ARCHITECTURE.md repeats.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use zput_tests::{
    imports::{Imports, Scope, paths, paths_below},
    sources, workspace,
};

/// The crates that have floors, and the least number of files and imports that the reader finds in
/// each while it still sees them.
const CRATES: [(&str, &str, usize, usize); 6] = [
    ("zput_cli", "client/cli", 30, 60),
    ("zput", "client", 70, 200),
    ("zput_server", "server", 140, 500),
    ("zput_seal", "common/seal", 30, 60),
    ("zput_proto", "common/proto", 30, 60),
    ("zput_os", "common/os", 4, 0),
];

/// The lines of the first block of code below `heading`, with what begins each of them taken off.
fn block<'a>(text: &'a str, heading: &str, comment: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.strip_prefix(comment).unwrap_or(line).trim_end());
    let below = lines.skip_while(|line| line.trim() != heading);
    let block = below.skip_while(|line| line.trim() != "```text").skip(1);
    block.take_while(|line| line.trim() != "```").map(str::trim).collect()
}

/// The modules of each floor: the words of a line up to two spaces.
fn floors(block: &[&str]) -> Vec<Vec<String>> {
    let modules = |line: &&str| line.split("  ").next().unwrap_or("").to_owned();
    let words = |line: String| line.split(' ').map(str::to_owned).collect();
    block.iter().map(modules).map(words).collect()
}

fn imports_of(name: &str, folder: &str) -> Imports {
    let src = workspace().join(folder).join("src");
    let read: Vec<(String, String)> = sources(&src)
        .into_iter()
        .map(|(file, text)| (file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(), text))
        .collect();
    let read = read.iter().map(|(file, text)| (file.as_str(), text.as_str()));
    Imports::of_crate(name, read)
}

#[test]
fn imports_go_down_and_in_no_circle() {
    for (name, folder, least_files, least_imports) in CRATES {
        let root = fs::read_to_string(workspace().join(folder).join("src/lib.rs")).unwrap();
        let floors = floors(&block(&root, "# Floors", "//!"));
        let imports = imports_of(name, folder);
        let (files, count) = (imports.files(), imports.iter().count());
        assert!(files >= least_files, "{name}: the reader finds only {files} files");
        assert!(count >= least_imports, "{name}: the reader finds only {count} imports");
        assert_eq!(imports.upward(&floors), [] as [String; 0], "{name}");
        assert_eq!(imports.cycles(), [] as [String; 0], "{name}");
        for module in floors.iter().flatten() {
            let is_file = imports.is_top_level(module);
            assert!(is_file, "{name}: the diagram has {module}, which is no module");
        }
    }
}

#[test]
fn the_architecture_has_the_same_floors() {
    let architecture = fs::read_to_string(workspace().join("docs/ARCHITECTURE.md")).unwrap();
    for (_, folder, ..) in CRATES {
        let root = fs::read_to_string(workspace().join(folder).join("src/lib.rs")).unwrap();
        let theirs = block(&architecture, &format!("### The floors of `{folder}`"), "");
        assert_eq!(theirs, block(&root, "# Floors", "//!"), "{folder}");
    }
}

fn of(sources: &[(&str, &str)]) -> Imports {
    Imports::of_crate("zput_x", sources.iter().copied())
}

fn edges(imports: &Imports) -> Vec<String> {
    imports.iter().map(|(from, to)| format!("{from} → {to}")).collect()
}

#[test]
fn reader_expands_use_trees() {
    let text = "use zput_common::{\n blob::{envelope, open::Header as H},\n name::*, // x::y\n};\n\
                fn f() -> zput_common::age::FileKey { \"zput_common::not\"; todo!(zput_common::a::b, c) }";
    assert_eq!(
        paths_below("zput_common", text, Scope::Everything),
        ["blob::envelope", "blob::open::Header", "name::*", "age::FileKey", "a::b"]
    );
    let text = "pub use self::a::{self, b::C as D};\n#[error(\"{}\", super::N)]\nstruct E;";
    assert_eq!(paths(text, Scope::Everything), ["self::a", "self::a::b::C", "super::N"]);
}

#[test]
fn reader_skips_what_is_for_tests() {
    let text = "#[cfg(test)]\nuse a::B;\nstruct S { #[cfg(test)] t: c::D, u: e::F }\n\
                #[cfg(test)]\nmod tests { use super::x::Y; }\n\
                #[cfg(not(test))]\nuse g::H;";
    assert_eq!(paths(text, Scope::Production), ["e::F", "g::H"]);
    assert_eq!(paths(text, Scope::Everything), ["a::B", "c::D", "e::F", "self::x::Y", "g::H"]);
    let all = of(&[
        ("lib.rs", "mod a;\n#[cfg(test)]\nmod testing;"),
        ("a.rs", "#[cfg(test)]\nmod tests;\nfn f() {}"),
        ("a/tests.rs", "use crate::testing::T;"),
        ("testing.rs", "use crate::a::f;"),
    ]);
    assert_eq!((all.files(), edges(&all)), (2, vec![]));
}

#[test]
fn import_leads_to_the_file_that_defines_the_item() {
    let all = of(&[
        ("lib.rs", "pub mod a;\nmod b;\npub use a::inner::Thing;"),
        ("a/mod.rs", "mod inner;\nmod other;\npub(crate) use inner::Thing;"),
        ("a/inner.rs", "pub struct Thing;"),
        ("a/other.rs", "use super::Thing;\nuse super::super::b::B;\nfn f() {}"),
        ("b.rs", "use crate::{Thing, a};\nstruct B(a::Thing, zput_x::Thing);"),
        ("main.rs", "use zput_x::Thing;\nfn main() {}"),
    ]);
    // A folder's mod.rs that only declares imports nothing, and nothing that goes through it stays.
    assert_eq!(
        edges(&all),
        ["a::other → a::inner", "a::other → b", "b → a", "b → a::inner", "main → a::inner"]
    );
    // One with items of its own imports what it uses and re-exports.
    let all = of(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod inner;\npub use inner::Thing;\npub struct Own(Thing);"),
        ("a/inner.rs", "use super::Own;\npub struct Thing;"),
    ]);
    assert_eq!(edges(&all), ["a → a::inner", "a::inner → a"]);
}

#[test]
fn cycle_is_found_by_its_shortest_way() {
    let all = of(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
        ("a.rs", "use crate::b::B;\nfn f() {}"),
        ("b.rs", "fn f() { crate::c::f(); crate::d::f() }"),
        ("c.rs", "use super::{d, a::f};\nfn f() {}"),
        ("d.rs", "fn f() {}"),
    ]);
    assert_eq!(all.cycles(), ["a → b → c → a"]);
    let all =
        of(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "fn f() {}")]);
    assert_eq!(all.cycles(), [] as [&str; 0]);
}

#[test]
fn upward_import_is_found() {
    let floors = floors(&block(
        "//! # Floors\n//!\n//! ```text\n//! a b    the top\n//! c      the bottom\n//! ```",
        "# Floors",
        "//!",
    ));
    assert_eq!(floors, [vec!["a", "b"], vec!["c"]]);
    let all = of(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\npub use a::f;"),
        ("a/mod.rs", "mod x;\nfn f() { x::g(); }"),
        ("a/x.rs", "use crate::c::C;\nfn g() {}"),
        ("b.rs", "use crate::a;\nfn f() {}"),
        ("c.rs", "use crate::a::x::g;\nfn f() {}"),
        ("d.rs", "fn f() {}"),
    ]);
    assert_eq!(
        all.upward(&floors),
        [
            "b imports a, which is not below it",
            "c imports a::x, which is not below it",
            "d is on no floor",
        ]
    );
}
