//! Style as a test: what may import what, what `common` may touch, how long a file may grow.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use zput_tests::{
    imports::{Scope, paths_below},
    sources, workspace,
};

/// What can open a blob, and so is nowhere below the server.
const OPENS_BLOBS: [&str; 6] =
    ["zput-seal", "zput", "aes-gcm", "argon2", "chacha20poly1305", "hpke"];

/// The crates of `common`, which bytes, time and randomness come to as arguments.
const COMMON: [&str; 2] = ["common/proto", "common/seal"];

/// What a crate without sockets, files, processes, threads and a clock does not say.
const COMMON_MUST_NOT_SAY: [&str; 9] = [
    "std::net",
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "SystemTime::now",
    "Instant::now",
    "tracing::",
    "println!",
];

/// The files that hold unsafe code: calls of the kernel that have no safe wrapper.
const MAY_BE_UNSAFE: [&str; 5] = [
    "common/os/src/memory.rs",
    "common/os/src/stdio.rs",
    "server/src/sys/io_priority.rs",
    "server/src/sys/mapping.rs",
    "server/src/sys/residency/mod.rs",
];

/// What says that a line of code is unsafe, or lets it be.
const UNSAFE_WORDS: [&str; 2] = ["unsafe", "unsafe_code"];

/// A file that reaches 500 lines holds a second concept.
const FILE_MAX_LINES: usize = 499;

fn crate_sources(name: &str) -> Vec<(PathBuf, String)> {
    sources(&workspace().join(name).join("src"))
}

/// A line without its `//` comment. Good enough for sources without `//` in string literals that
/// name a path of this crate.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The packages that `name` needs, its tests included, by the workspace's lock file.
fn packages_below(name: &str) -> BTreeSet<String> {
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let lock = lock.parse::<toml::Table>().unwrap();
    let mut found = BTreeSet::new();
    let mut unread = vec![name.to_owned()];
    while let Some(name) = unread.pop() {
        for package in lock["package"].as_array().unwrap() {
            if package["name"].as_str() != Some(&name) {
                continue;
            }
            let needed = package.get("dependencies").and_then(toml::Value::as_array);
            for needed in needed.into_iter().flatten() {
                // "name", or "name version" where there are several.
                let needed = needed.as_str().unwrap().split(' ').next().unwrap();
                if found.insert(needed.to_owned()) {
                    unread.push(needed.to_owned());
                }
            }
        }
    }
    found
}

/// Cargo keeps the server blind: it does not even compile what could open a blob.
#[test]
fn server_imports_nothing_that_opens_a_blob() {
    assert!(packages_below("zput").contains("hpke"), "the lock file is read wrongly");
    let below = packages_below("zput-server");
    assert!(below.contains("zput-proto"), "the lock file is read wrongly");
    for package in OPENS_BLOBS {
        assert!(!below.contains(package), "zput-server depends on {package}");
    }
}

/// The sources of common name no socket, file, clock or log facility.
#[test]
fn common_uses_no_sockets_files_clock_or_log() {
    let mut checked = 0;
    for (file, text) in COMMON.into_iter().flat_map(crate_sources) {
        let text = code(&text);
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
        let below = file.strip_prefix(workspace().join("common")).unwrap();
        if file.ends_with("tests.rs") || below.components().any(|c| c.as_os_str() == "tests") {
            continue;
        }
        checked += 1;
        for word in COMMON_MUST_NOT_SAY {
            assert!(!text.contains(word), "{} says {word}", file.display());
        }
        for upstream in ["zput::", "zput_os", "zput_cli", "zput_server"] {
            assert!(!text.contains(upstream), "{} imports {upstream}", file.display());
        }
    }
    assert!(checked > 30, "the scan found only {checked} files: it no longer sees them");
}

/// What writes to stdout or stderr and panics where it cannot.
const PRINTS: [&str; 5] = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];

/// A program that outlives its terminal says things by means that may fail; a library says nothing.
#[test]
fn library_and_server_sources_use_no_print_macros() {
    let mut checked = 0;
    for name in ["common/proto", "common/seal", "common/os", "server", "client", "client/cli"] {
        for (file, text) in crate_sources(name) {
            let below = file.strip_prefix(workspace().join(name).join("src")).unwrap();
            let is_test = file.ends_with("tests.rs")
                || below.components().any(|part| part.as_os_str() == "tests");
            if is_test {
                continue;
            }
            let text = code(&text);
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let said = |word: &&str| text.split(|c: char| !is_word(c)).any(|other| other == *word);
            assert_eq!(PRINTS.iter().find(|word| said(word)), None, "{}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 150, "the scan found only {checked} files: it no longer sees them");
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '!'
}

/// Whether a word of code, outside of comments, is unsafe.
fn says_unsafe(text: &str) -> bool {
    let text = code(text);
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| UNSAFE_WORDS.contains(&word))
}

/// The files with unsafe code are exactly the listed ones.
#[test]
fn unsafe_code_is_in_the_listed_files_only() {
    for (text, is) in [
        ("unsafe { call() }", true),
        ("#![expect(unsafe_code, reason = \"x\")]", true),
        ("fn f() {} // unsafe", false),
        ("let unsafely = 1;", false),
    ] {
        assert_eq!(says_unsafe(text), is, "{text}");
    }
    let mut found = Vec::new();
    for name in ["common", "server", "client", "tests", "examples"] {
        for (file, text) in sources(&workspace().join(name)) {
            let file = file.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
            if says_unsafe(&text) && file != "tests/tests/tidy.rs" {
                found.push(file);
            }
        }
    }
    found.sort();
    assert_eq!(found, MAY_BE_UNSAFE);
}

/// What the crates import from `rand`: the operating system's generator, and traits of generators.
/// All its other generators are seeded once in a process, and two clones of a machine would draw
/// the same from them.
const MAY_IMPORT_OF_RAND: [&str; 5] =
    ["CryptoRng", "RngExt", "TryRng", "rand_core::UnwrapErr", "rngs::SysRng"];

/// Other crates' generators, and those of `rand` by the names that they have wherever they are.
const SEEDED_GENERATORS: [&str; 13] = [
    "ThreadRng",
    "thread_rng",
    "StdRng",
    "SmallRng",
    "ChaCha8Rng",
    "ChaCha12Rng",
    "ChaCha20Rng",
    "Xoshiro",
    "SeedableRng",
    "aws_lc_rs::rand",
    "SystemRandom",
    "fastrand",
    "oorandom",
];

/// The crates import no seeded generator and no other source of randomness.
#[test]
fn keys_and_salts_come_from_the_operating_system() {
    let (mut checked, mut imports) = (0, 0);
    for name in ["common/proto", "common/seal", "common/os", "client", "client/cli", "server"] {
        for (file, text) in crate_sources(name) {
            let below = file.strip_prefix(workspace().join(name)).unwrap();
            if file.ends_with("tests.rs") || below.components().any(|c| c.as_os_str() == "tests") {
                continue;
            }
            for path in paths_below("rand", &text, Scope::Production) {
                let may = MAY_IMPORT_OF_RAND.contains(&path.as_str());
                assert!(may, "{} takes rand::{path}", file.display());
                imports += 1;
            }
            let text = code(&text);
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
            for word in SEEDED_GENERATORS {
                assert!(!text.contains(word), "{} says {word}", file.display());
            }
            checked += 1;
        }
        let manifest = fs::read_to_string(workspace().join(name).join("Cargo.toml")).unwrap();
        let manifest = manifest.parse::<toml::Table>().unwrap();
        for dependency in manifest["dependencies"].as_table().unwrap().keys() {
            let is_other = dependency.contains("rand") && dependency != "rand";
            assert!(!is_other && dependency != "getrandom", "{name} depends on {dependency}");
        }
    }
    assert!(checked > 100, "the scan found only {checked} files: it no longer sees them");
    assert!(imports > 15, "the scan found only {imports} imports: it no longer sees them");
}

/// What the standard library ends a program for, and the file that asks for it in another way.
const ASKED_FOR_ELSEWHERE: [(&str, &str); 4] = [
    ("thread::Builder", "common/os/src/threads.rs"),
    ("thread::spawn", "common/os/src/threads.rs"),
    ("scope.spawn", "common/os/src/threads.rs"),
    ("try_reserve", "common/proto/src/fallible.rs"),
];

/// Threads and large buffers are requested by calls that can fail.
#[test]
fn threads_and_large_buffers_are_requested_fallibly() {
    let mut allowed = 0;
    for name in ["common/proto", "common/seal", "common/os", "client", "client/cli", "server"] {
        for (file, text) in crate_sources(name) {
            let below = file.strip_prefix(workspace()).unwrap();
            if file.ends_with("tests.rs") || below.components().any(|c| c.as_os_str() == "tests") {
                continue;
            }
            let text = code(&text);
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
            for (words, place) in ASKED_FOR_ELSEWHERE {
                let is_there = below == Path::new(place);
                assert!(is_there || !text.contains(words), "{} says {words}", below.display());
                allowed += usize::from(is_there && text.contains(words));
            }
        }
    }
    assert_eq!(allowed, 2, "the scan no longer sees where they are asked for");
}

/// The lint table of a manifest's `section`.
fn lints(manifest: &str, section: &str) -> toml::Table {
    let text = fs::read_to_string(workspace().join(manifest)).unwrap();
    let mut table = text.parse::<toml::Table>().unwrap();
    for key in section.split('.') {
        let toml::Value::Table(inner) = table.remove(key).unwrap() else { panic!("{section}") };
        table = inner;
    }
    table
}

#[test]
fn unsafe_code_is_forbidden_but_where_it_is_denied() {
    let workspace = lints("Cargo.toml", "workspace.lints");
    assert_eq!(workspace["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for name in ["common/proto", "common/seal", "client", "client/cli", "tests", "examples"] {
        let own = lints(&format!("{name}/Cargo.toml"), "lints");
        assert_eq!(own, toml::toml! { workspace = true }, "{name}");
    }
    for name in ["common/os", "server"] {
        let mut own = lints(&format!("{name}/Cargo.toml"), "lints");
        assert_eq!(own["rust"]["unsafe_code"].as_str(), Some("deny"));
        own["rust"]["unsafe_code"] = "forbid".into();
        assert_eq!(own, workspace, "{name}: its table is the workspace's but for one line");
    }
}

/// No Rust file is longer than the limit of lines: sources, tests, benchmarks, examples, fuzz
/// targets.
#[test]
fn source_files_stay_below_the_line_limit() {
    let files = files_ending(".rs");
    for (file, text) in &files {
        let lines = text.lines().count();
        assert!(lines <= FILE_MAX_LINES, "{file} has {lines} lines");
    }
    let count = files.len();
    assert!(count > 500, "the scan found only {count} files: it no longer sees them");
}

/// A line of prose ends here, in characters: on a page, and in a comment.
const MAX_COLUMNS: usize = 100;

/// Directories of other people's files.
const FOREIGN_DIRECTORIES: [&str; 2] = ["target", "node_modules"];

/// The repository's files with such names, by their paths from its root.
fn files_ending(end: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![workspace().to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && !FOREIGN_DIRECTORIES.contains(&name) {
                left.push(path);
            } else if name.ends_with(end) {
                let from_root = path.strip_prefix(workspace()).unwrap().to_str().unwrap();
                found.push((from_root.to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The numbers of lines that are too long, with what they are a line of. Rows of tables, code, and
/// lines of one word, which nothing can wrap, may be longer.
fn too_long<'a>(lines: impl Iterator<Item = (usize, &'a str, &'a str)>) -> Vec<usize> {
    let mut is_fenced = false;
    let mut found = Vec::new();
    for (number, line, prose) in lines {
        let is_fence = prose.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        let is_code = is_fenced || is_fence || prose.starts_with("    ");
        let is_one_word = !prose.strip_prefix("- ").unwrap_or(prose).trim().contains(' ');
        let may_be_long = is_code || prose.starts_with('|') || is_one_word;
        if !may_be_long && line.chars().count() > MAX_COLUMNS {
            found.push(number);
        }
    }
    found
}

fn too_long_on_page(page: &str) -> Vec<usize> {
    too_long((1..).zip(page.lines()).map(|(number, line)| (number, line, line)))
}

fn too_long_in_comments(text: &str) -> Vec<usize> {
    too_long((1..).zip(text.lines()).filter_map(|(number, line)| {
        let comment = line.trim_start().strip_prefix("//")?;
        let prose = comment.trim_start_matches(['/', '!']);
        Some((number, line, prose.strip_prefix(' ').unwrap_or(prose)))
    }))
}

/// No comment is wider than 100 columns.
#[test]
fn comments_end_at_100_columns() {
    let (fits, long) = ("a ".repeat(46), "\u{e9} ".repeat(50));
    let text = format!("    /// {fits}\n    /// {long}\n//! {long}\n//! | {long}\n    {long}\n");
    assert_eq!(too_long_in_comments(&text), [2, 3]);
    let files = files_ending(".rs");
    let lines = files.iter().flat_map(|(file, text)| {
        too_long_in_comments(text).into_iter().map(move |number| format!("{file}:{number}"))
    });
    let lines: Vec<String> = lines.collect();
    assert!(lines.is_empty(), "{} lines are too long:\n{}", lines.len(), lines.join("\n"));
}

/// No line of prose on a Markdown page is longer than 100 columns.
#[test]
fn markdown_lines_end_at_100_columns() {
    let (fits, long) = ("a ".repeat(50), "\u{e9} ".repeat(50) + "b");
    let word = "a".repeat(101);
    let code = format!("    {long}\n```text\n{long}\n```");
    let page = format!("{fits}\n{long}\n| {long} |\n{code}\n{long}\n- `{word}`\n- {long}\n");
    assert_eq!(too_long_on_page(&page), [2, 8, 10]);
    let pages = files_ending(".md");
    for name in ["README.md", "SECURITY.md", "docs/STORE.md", "fuzz/README.md"] {
        assert!(pages.iter().any(|(page, _)| page == name), "the scan does not see {name}");
    }
    let lines = pages.iter().flat_map(|(page, text)| {
        too_long_on_page(text).into_iter().map(move |number| format!("{page}:{number}"))
    });
    let lines: Vec<String> = lines.collect();
    let count = lines.len();
    assert!(lines.is_empty(), "{count} lines are too long:\n{}", lines.join("\n"));
}

/// The bodies of functions that `#[test]` stands before, with their names.
fn tests_of(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for behind in text.split("#[test]\n").skip(1) {
        let Some((_, function)) = behind.split_once("fn ") else { continue };
        let name = function.split('(').next().unwrap();
        // The brace that ends it stands as far in as the attributes and `fn`.
        let indent = behind.len() - behind.trim_start().len();
        let end = format!("\n{}}}\n", " ".repeat(indent));
        found.push((name, function.split(&end).next().unwrap()));
    }
    found
}

/// A line that ends a test, or the helper that does its work, as if all had been well.
fn leaves_early(line: &str) -> bool {
    let line = line.split("//").next().unwrap().trim();
    ["return;", "return Ok(());", "=> return,", "{ return }", "{ return; }"]
        .iter()
        .any(|way| line.contains(way))
}

/// A test that cannot run here says so by `skip::because` or `or_skip!`; both are counted.
#[test]
fn skipped_tests_are_counted() {
    for (line, does) in [
        ("return;", true),
        ("let Some(it) = it() else { return };", true),
        ("Err(_) => return,", true),
        ("return skip::because(\"no strace\");", false),
        ("return 5; // return;", false),
    ] {
        assert_eq!(leaves_early(line), does, "{line}");
    }
    let mut checked = 0;
    let mut found = Vec::new();
    for name in ["common", "server", "client", "tests"] {
        for (file, text) in sources(&workspace().join(name)) {
            let file = file.strip_prefix(workspace()).unwrap().display().to_string();
            for (test, body) in tests_of(&text) {
                let early = body.lines().filter(|line| leaves_early(line));
                found.extend(early.map(|line| format!("{file}, {test}: {}", line.trim())));
                checked += 1;
            }
            if ["tests/skip/", "tests/benches/"].iter().any(|own| file.starts_with(own)) {
                continue;
            }
            let is_of_tests = file.ends_with("tests.rs") || file.contains("/tests/");
            let unsaid = code(&text);
            let unsaid = unsaid.lines().filter(|line| {
                line.contains("\"skipped: ") || (is_of_tests && line.contains("else { return };"))
            });
            found.extend(unsaid.map(|line| format!("{file}: {}", line.trim())));
        }
    }
    // The examples of this test.
    found.retain(|line| !line.starts_with("tests/tests/tidy.rs"));
    assert_eq!(found, [] as [String; 0], "these end as if all had been well");
    assert!(checked > 800, "the scan found only {checked} tests: it no longer sees them");
}
