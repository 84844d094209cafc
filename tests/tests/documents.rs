//! What the documents name is there: tests, modules, dependencies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::PathBuf};

use zput_tests::{sources, workspace};

fn page(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a source has a test of this name that runs: an ignored one catches nothing by itself.
fn has_test(text: &str, test: &str) -> bool {
    text.split("#[test]").skip(1).any(|behind| {
        let signature = behind.split_once(" {").map_or("", |(signature, _)| signature);
        signature.contains(&format!("fn {test}()")) && !signature.contains("#[ignore")
    })
}

/// The sources of all crates, by their paths from the root.
fn all_sources() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for name in ["common", "server", "client", "tests"] {
        for (file, text) in sources(&workspace().join(name)) {
            let file = file.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
            all.push((file, text));
        }
    }
    all
}

/// Whether a file is the one that a document means by `place`: `line.rs`, `faults::power`, `client/tests/cli/keys.rs`. The tests of a
/// module may stand in a file of their own.
fn is_at(file: &str, place: &str) -> bool {
    let place = place.replace("::", "/");
    let place = format!("/{}", place.trim_end_matches(".rs"));
    let file = format!("/{}", file.trim_end_matches(".rs"));
    let ends = ["", "/tests", "/mod"].map(|end| format!("{place}{end}"));
    ends.iter().any(|end| file.ends_with(end.as_str()))
}

#[test]
fn a_place_is_told_from_another() {
    for (file, place, is) in [
        ("tests/tests/adversary/line.rs", "line.rs", true),
        ("tests/tests/adversary/line.rs", "adversary::line", true),
        ("server/src/session/turn/tests.rs", "turn", true),
        ("client/tests/cli/keys.rs", "client/tests/cli/keys.rs", true),
        ("client/tests/cli/keys.rs", "eys", false),
        ("tests/tests/adversary/line.rs", "served.rs", false),
        ("common/src/keys/mod.rs", "keys", true),
    ] {
        assert_eq!(is_at(file, place), is, "{file}, {place}");
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut names = Vec::new();
    for name in ["SECURITY.md", "docs/STORE.md"] {
        let text = page(name);
        // What is quoted and has a place before its name is a test; in STORE only at the end of a row.
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
        let cells: Vec<&str> =
            if name == "SECURITY.md" { vec![text.as_str()] } else { cells.collect() };
        for quoted in cells.into_iter().flat_map(quoted) {
            if let Some((place, test)) = quoted.rsplit_once("::") {
                names.push((name, place.to_owned(), test.to_owned()));
            }
        }
    }
    assert!(names.len() >= 100, "the pages name only {} tests", names.len());
    let all = all_sources();
    for (page, place, test) in names {
        let mut there = all.iter().filter(|(file, _)| is_at(file, &place));
        let found = there.any(|(_, text)| has_test(text, &test));
        assert!(found, "{page} names {place}::{test}, which is no test that runs");
    }
}

/// Rows of a document's tables, without their heads: the text of their last cells.
fn last_cells(page: &str, text: &str) -> Vec<String> {
    let rows =
        text.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| caught by |"));
    rows.map(|row| {
        let row =
            row.strip_suffix(" |").unwrap_or_else(|| panic!("{page}: a row has no end: {row}"));
        row.rsplit(" | ").next().unwrap().to_owned()
    })
    .collect()
}

#[test]
fn every_regression_has_a_test_that_exists_or_a_reason() {
    let name = "docs/REGRESSIONS.md";
    let cells = last_cells(name, &page(name));
    assert!(cells.len() >= 35, "{name} has only {} rows", cells.len());
    let mut named = 0;
    for cell in cells {
        let mut tests = 0;
        for quoted in quoted(&cell) {
            let Some((file, test)) = quoted.split_once("::") else { continue };
            let text = fs::read_to_string(workspace().join(file));
            let text = text.unwrap_or_else(|e| panic!("{name} names {file}: {e}"));
            assert!(has_test(&text, test), "{name} names {quoted}, which is no test that runs");
            tests += 1;
        }
        assert!(
            tests > 0 || cell.split(' ').count() > 5,
            "{name} has no test and no reason: {cell}"
        );
        named += tests;
    }
    assert!(named >= 50, "{name} names only {named} tests");
}

/// The part of a page below a heading of the second level.
fn part<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, behind) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    behind.split("\n## ").next().unwrap()
}

/// CONTRIBUTING: "A new dependency needs a sentence in docs/ARCHITECTURE.md."
#[test]
fn every_dependency_is_in_the_architecture_and_no_other() {
    let manifest = page("Cargo.toml").parse::<toml::Table>().unwrap();
    let crates = manifest["workspace"]["dependencies"].as_table().unwrap();
    let used: Vec<&str> =
        crates.keys().map(String::as_str).filter(|name| !name.starts_with("zput-")).collect();
    assert!(used.len() > 50, "{used:?}");
    let architecture = page("docs/ARCHITECTURE.md");
    let rows = part(&architecture, "Dependencies").lines().filter(|line| line.starts_with("| `"));
    let named: Vec<&str> = rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap())).collect();
    for name in &used {
        assert!(named.contains(name), "docs/ARCHITECTURE.md does not say what {name} is for");
    }
    for name in &named {
        assert!(used.contains(name), "docs/ARCHITECTURE.md tells of {name}, which is not used");
    }
    for name in ["common", "server", "client", "tests", "examples"] {
        let manifest = page(&format!("{name}/Cargo.toml")).parse::<toml::Table>().unwrap();
        for table in ["dependencies", "dev-dependencies"] {
            let own = manifest.get(table).and_then(toml::Value::as_table);
            for (dependency, value) in own.into_iter().flatten() {
                let is_shared = value.get("workspace").is_some_and(|it| it.as_bool() == Some(true));
                assert!(is_shared, "{name} has a {dependency} of its own");
            }
        }
    }
}

/// `common::age::{x25519, mlkem768x25519}` is two of them.
fn spelled_out(path: &str) -> Vec<String> {
    match path.strip_suffix('}').and_then(|path| path.split_once('{')) {
        Some((stem, ends)) => ends.split(", ").map(|end| format!("{stem}{end}")).collect(),
        None => vec![path.to_owned()],
    }
}

/// The file of a module: `client::put::batch`. Of what a module holds, `server::handler::Mounted`, that of the module, and the name.
fn file_of(path: &str) -> (PathBuf, Option<&str>) {
    let (module, item) = match path.rsplit_once("::") {
        Some((module, item)) if item.starts_with(char::is_uppercase) => (module, Some(item)),
        _ => (path, None),
    };
    let (name, below) = module.split_once("::").unwrap();
    let below = workspace().join(name).join("src").join(below.replace("::", "/"));
    let own = below.with_extension("rs");
    (if own.exists() { own } else { below.join("mod.rs") }, item)
}

#[test]
fn every_place_that_the_architecture_names_exists() {
    let architecture = page("docs/ARCHITECTURE.md");
    let rows = part(&architecture, "Where is the thing that …").lines();
    let cells =
        rows.filter(|line| line.starts_with("| ")).map(|row| row.split('|').nth(2).unwrap());
    let paths: Vec<String> = cells.flat_map(quoted).flat_map(spelled_out).collect();
    assert!(paths.len() > 60, "the page names only {} places", paths.len());
    for path in paths.iter().filter(|path| path.contains("::")) {
        let (file, item) = file_of(path);
        let text = fs::read_to_string(&file);
        let text = text.unwrap_or_else(|e| panic!("{path} is not at {}: {e}", file.display()));
        let has = |item: &str| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == item);
        assert!(item.is_none_or(has), "{path} is not in {}", file.display());
    }
}
