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

/// A page whose blocks, headings of the third level, name tests.
struct Form {
    page: &'static str,
    /// The heading of the second level whose blocks these are; all of the page without one.
    part: Option<&'static str>,
    /// How many blocks and tests there are at least.
    min_blocks: usize,
    min_tests: usize,
}

const FORMS: [Form; 3] = [
    Form { page: "SECURITY.md", part: None, min_blocks: 40, min_tests: 90 },
    Form { page: "docs/STORE.md", part: Some("Promises"), min_blocks: 10, min_tests: 50 },
    Form { page: "docs/REGRESSIONS.md", part: None, min_blocks: 200, min_tests: 300 },
];

/// A reason for a block without a test has more words than this.
const REASON_EXCEEDS_WORDS: usize = 5;

/// The crates whose tests a page may name.
const CRATES_WITH_TESTS: [&str; 4] = ["common", "server", "client", "tests"];

/// Sources by their paths from the repository's root.
struct Sources(Vec<(String, String)>);

impl Sources {
    fn of_the_workspace() -> Self {
        let files = CRATES_WITH_TESTS.into_iter().flat_map(|name| sources(&workspace().join(name)));
        let from_root =
            |file: PathBuf| file.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
        Self(files.map(|(file, text)| (from_root(file), text)).collect())
    }

    /// Why `path::name` is no test that runs. Tells where a test of that name is instead.
    fn problem(&self, path: &str, name: &str) -> Option<String> {
        let file = self.0.iter().find(|(file, _)| file == path);
        if file.is_some_and(|(_, text)| has_test(text, name)) {
            return None;
        }
        let mut elsewhere = self.0.iter().filter(|(_, text)| has_test(text, name));
        let hint = elsewhere.next().map_or(String::new(), |(file, _)| format!(" (see {file})"));
        let what = if file.is_some() { "has no test that runs called" } else { "is no file with" };
        Some(format!("{path} {what} {name}{hint}"))
    }
}

/// Whether a source has a test of this name that is not ignored.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let signature = format!("fn {name}()");
    lines.iter().enumerate().filter(|(_, line)| line.starts_with(&signature)).any(|(at, _)| {
        let above = lines[..at].iter().rev();
        let attributes: Vec<&str> =
            above.copied().take_while(|line| is_above_a_function(line)).collect();
        let has = |start: &str| attributes.iter().any(|line| line.starts_with(start));
        has("#[test]") && !has("#[ignore")
    })
}

/// Whether a line belongs to the attributes and the documentation of the function below it.
fn is_above_a_function(line: &str) -> bool {
    line.starts_with("//") || !(line.is_empty() || line.ends_with(['{', '}', ';']))
}

/// A heading, and what is said below it about tests.
#[derive(Debug, Default)]
struct Block {
    /// The number of the heading's line, from 1.
    line: usize,
    /// The heading of the second level that this one is below.
    part: String,
    /// The number of `#` in front of the heading; 0 for what stands above the first one.
    level: usize,
    heading: String,
    /// The lines of the lists below `Tests:`, by their numbers.
    items: Vec<(usize, String)>,
    /// The paragraph behind `Not tested:`.
    reason: Option<String>,
}

/// What the lines of a page that follow belong to.
enum Within {
    Prose,
    /// A list of tests, which ends with the next empty line.
    Tests,
    Reason,
    /// Code between fences.
    Code,
}

/// The blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    let mut within = Within::Prose;
    let mut part = String::new();
    for (number, line) in (1..).zip(page.lines()) {
        let block = blocks.last_mut().unwrap();
        let level = line.len() - line.trim_start_matches('#').len();
        within = match within {
            Within::Code if line.starts_with("```") => Within::Prose,
            Within::Code => Within::Code,
            _ if line.starts_with("```") => Within::Code,
            _ if level > 0 && line[level..].starts_with(' ') => {
                let heading = line[level..].trim().to_owned();
                if level == 2 {
                    part.clone_from(&heading);
                }
                let part = part.clone();
                blocks.push(Block { line: number, part, level, heading, ..Block::default() });
                Within::Prose
            }
            _ if line == "Tests:" => Within::Tests,
            // A list below its line, with an empty one between them or without.
            Within::Tests if line.is_empty() && block.items.is_empty() => Within::Tests,
            _ if line.is_empty() => Within::Prose,
            Within::Tests => {
                block.items.push((number, line.to_owned()));
                Within::Tests
            }
            Within::Reason => {
                block.reason.get_or_insert_default().extend([" ", line]);
                Within::Reason
            }
            Within::Prose => match line.strip_prefix("Not tested:") {
                Some(reason) => {
                    block.reason = Some(reason.to_owned());
                    Within::Reason
                }
                None => Within::Prose,
            },
        };
    }
    blocks
}

/// The path and the name of a list's item, which is exactly one `path::name` between backticks.
fn path_and_name(item: &str) -> Option<(&str, &str)> {
    let (path, name) = item.strip_prefix("- `")?.strip_suffix('`')?.split_once("::")?;
    let is_one_word = |text: &str| !text.contains([' ', '`', ':']);
    let is_test = path.ends_with(".rs") && is_one_word(path) && is_one_word(name);
    is_test.then_some((path, name))
}

/// The blocks that have a test or a reason.
fn blocks_of_form<'a>(
    blocks: &'a [Block],
    part: Option<&'a str>,
) -> impl Iterator<Item = &'a Block> {
    let is_of_part = move |block: &Block| part.is_none_or(|part| block.part == part);
    blocks.iter().filter(move |block| block.level == 3 && is_of_part(block))
}

/// What is wrong with the tests that a page names, by line.
fn problems(blocks: &[Block], part: Option<&str>, sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    for (line, item) in blocks.iter().flat_map(|block| &block.items) {
        let problem = match path_and_name(item) {
            Some((path, name)) => sources.problem(path, name),
            None => Some(format!("no `path::name` alone: {item}")),
        };
        found.extend(problem.map(|problem| format!("{line}: {problem}")));
    }
    for Block { line, heading, items, reason, .. } in blocks_of_form(blocks, part) {
        let words = reason.as_ref().map_or(0, |reason| reason.split_whitespace().count());
        if items.is_empty() && words <= REASON_EXCEEDS_WORDS {
            found.push(format!("{line}: neither a test nor a reason: {heading}"));
        }
    }
    found
}

/// The test lists of the pages name tests that exist and run, or give a reason.
#[test]
fn test_lists_name_tests_that_run_or_give_a_reason() {
    let sources = Sources::of_the_workspace();
    let mut found = Vec::new();
    for Form { page: name, part, min_blocks, min_tests } in FORMS {
        let blocks = blocks(&page(name));
        let of_page = problems(&blocks, part, &sources);
        found.extend(of_page.iter().map(|problem| format!("{name}:{problem}")));
        let of_form = blocks_of_form(&blocks, part).count();
        let tests: usize = blocks.iter().map(|block| block.items.len()).sum();
        if of_form < min_blocks || tests < min_tests {
            found.push(format!("{name} has only {of_form} blocks and {tests} tests"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// A source with one test that runs, one that does not, and a function that is no test.
fn example() -> Sources {
    let text = "
#[test]
fn works() {}

/// Takes long; is
/// run by hand.
#[test]
#[ignore = \"it takes minutes\"]
fn takes_long() {
}

#[ignore = \"in front of it\"]
#[test]
fn takes_long_too() {}

fn helps() {}
";
    Sources(vec![("common/src/a.rs".to_owned(), text.to_owned())])
}

/// A page with correct test lists, with or without empty lines, has no problems.
#[test]
fn test_list_problems_are_none_on_correct_page() {
    let page = "# Page

## Part

### Tested

What stops it.

Tests:
- `common/src/a.rs::works`

### With an empty line

Tests:

- `common/src/a.rs::works`
- `common/src/a.rs::works`

### Not tested

Not tested: by construction, since there
is no such thing.

```
### Not a heading
Tests:
- nothing
```
";
    let blocks = blocks(page);
    assert_eq!(problems(&blocks, None, &example()), [""; 0]);
    let counts: Vec<_> = blocks.iter().map(|block| (block.level, block.items.len())).collect();
    assert_eq!(counts, [(0, 0), (1, 0), (2, 0), (3, 1), (3, 2), (3, 0)]);
    let reason = blocks[5].reason.as_deref();
    assert_eq!(reason, Some(" by construction, since there is no such thing."));
}

/// Each kind of error in a test list is reported with its line.
#[test]
fn test_list_problems_name_each_wrong_line() {
    for (below, problem) in [
        (
            "Tests:\n- `common/src/a.rs::fails`",
            "4: common/src/a.rs has no test that runs called fails",
        ),
        (
            "Tests:\n- `common/src/b.rs::works`",
            "4: common/src/b.rs is no file with works (see common/src/a.rs)",
        ),
        (
            "Tests:\n- `common/src/a.rs::takes_long`",
            "4: common/src/a.rs has no test that runs called takes_long",
        ),
        (
            "Tests:\n- `common/src/a.rs::takes_long_too`",
            "4: common/src/a.rs has no test that runs called takes_long_too",
        ),
        (
            "Tests:\n- `common/src/a.rs::helps`",
            "4: common/src/a.rs has no test that runs called helps",
        ),
        ("Tests:\n- `a::works`", "4: no `path::name` alone: - `a::works`"),
        ("Tests:\n- common/src/a.rs::works", "4: no `path::name` alone: - common/src/a.rs::works"),
        (
            "Tests:\n- `common/src/a.rs::works`, and others",
            "4: no `path::name` alone: - `common/src/a.rs::works`, and others",
        ),
        (
            "Tests:\n- `common/src/a.rs::works`\n  in a file",
            "5: no `path::name` alone:   in a file",
        ),
        ("Tests:\n- `common/src/a.rs`", "4: no `path::name` alone: - `common/src/a.rs`"),
        ("Prose.", "2: neither a test nor a reason: Fault"),
        ("Tests:", "2: neither a test nor a reason: Fault"),
        ("Tests:\n\nProse.\n\n- `common/src/a.rs::works`", "5: no `path::name` alone: Prose."),
        ("Not tested: because it is so.", "2: neither a test nor a reason: Fault"),
    ] {
        let page = format!("## Part\n### Fault\n{below}\n");
        assert_eq!(problems(&blocks(&page), None, &example()), [problem], "{below}");
    }
}

/// Outside the named part a heading needs no test list, and a listed test is still checked.
#[test]
fn test_list_problems_outside_named_part_are_of_tests_only() {
    let page =
        "## Part\n### Untested\nProse.\n### Tested\nTests:\n- `a::b`\n## Promises\n### Fault\n";
    let found = problems(&blocks(page), Some("Promises"), &example());
    let expected = ["6: no `path::name` alone: - `a::b`", "8: neither a test nor a reason: Fault"];
    assert_eq!(found, expected);
}

/// The part of a page below a heading of the second level.
fn part<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, behind) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    behind.split("\n## ").next().unwrap()
}

/// Whether a dependency is a crate of this workspace.
fn is_ours(dependency: &toml::Value) -> bool {
    dependency.get("path").is_some()
}

/// CONTRIBUTING: "A new dependency needs a sentence in docs/ARCHITECTURE.md."
#[test]
fn architecture_page_names_exactly_the_dependencies() {
    let manifest = page("Cargo.toml").parse::<toml::Table>().unwrap();
    let crates = manifest["workspace"]["dependencies"].as_table().unwrap();
    let others = crates.iter().filter(|(_, value)| !is_ours(value));
    let used: Vec<&str> = others.map(|(name, _)| name.as_str()).collect();
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
    let members = manifest["workspace"]["members"].as_array().unwrap();
    for name in members.iter().map(|member| member.as_str().unwrap()) {
        let manifest = page(&format!("{name}/Cargo.toml")).parse::<toml::Table>().unwrap();
        for table in ["dependencies", "dev-dependencies"] {
            let own = manifest.get(table).and_then(toml::Value::as_table);
            for (dependency, value) in own.into_iter().flatten() {
                let is_shared = value.get("workspace").is_some_and(|it| it.as_bool() == Some(true));
                // A crate's own documentation may need the crate itself, with a feature.
                assert!(is_shared || is_ours(value), "{name} has a {dependency} of its own");
            }
        }
    }
}

/// The folders of the crates, by the names that docs/ARCHITECTURE.md gives them.
const FOLDERS: [(&str, &str); 6] = [
    ("proto", "common/proto"),
    ("seal", "common/seal"),
    ("os", "common/os"),
    ("server", "server"),
    ("client", "client"),
    ("cli", "client/cli"),
];

/// The paths in code below one of [`FOLDERS`]; `seal::age::{x25519, mlkem768x25519}` is two of
/// them.
fn paths(text: &str) -> Vec<String> {
    // Code in blocks has no paths, and its fences are backticks too.
    let prose = text.split("```").step_by(2).flat_map(quoted);
    let has_crate = |code: &&str| {
        let name = code.split_once("::").map(|(name, _)| name);
        FOLDERS.iter().any(|(known, _)| name == Some(*known))
    };
    prose.filter(has_crate).flat_map(spelled_out).collect()
}

fn spelled_out(path: &str) -> Vec<String> {
    match path.strip_suffix('}').and_then(|path| path.split_once('{')) {
        // A list may be wrapped where it has a space.
        Some((stem, ends)) => ends.split(',').map(|end| format!("{stem}{}", end.trim())).collect(),
        None => vec![path.to_owned()],
    }
}

/// The file of a module: `client::put::batch`. Of an item of a module, `server::worker::Endpoint`
/// or `proto::limits::NAME_MAX_BYTES`, the file of the module, and the item's name.
fn file_of(path: &str) -> (PathBuf, Option<&str>) {
    let (module, item) = match path.rsplit_once("::") {
        Some((module, item)) if item.starts_with(char::is_uppercase) => (module, Some(item)),
        _ => (path, None),
    };
    let (name, below) = module.split_once("::").unwrap();
    let (_, folder) = FOLDERS.iter().find(|(known, _)| *known == name).unwrap();
    let below = workspace().join(folder).join("src").join(below.replace("::", "/"));
    let own = below.with_extension("rs");
    (if own.exists() { own } else { below.join("mod.rs") }, item)
}

#[test]
fn paths_are_those_of_crates_in_prose() {
    let text =
        "`seal::age::{x25519,\nunwrap}` and `std::fs`, `Busy`\n```text\n`os::a`\n```\n`cli::cmd`";
    assert_eq!(paths(text), ["seal::age::x25519", "seal::age::unwrap", "cli::cmd"]);
}

/// Whether a source defines this item, and does not only import it.
fn defines(text: &str, item: &str) -> bool {
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let keywords = ["const", "enum", "fn", "static", "struct", "trait", "type"];
    words.windows(2).any(|pair| keywords.contains(&pair[0]) && pair[1] == item)
}

/// An import, a use and a longer name are no definition.
#[test]
fn defines_tells_a_definition_from_a_use() {
    assert!(defines("pub(crate) struct Limits {", "Limits"));
    assert!(defines("const DRAIN: Duration = x;", "DRAIN"));
    assert!(!defines("use options::Limits; fn f() -> Limits {}", "Limits"));
    assert!(!defines("struct LimitsTable;", "Limits"));
}

/// Each path and item in ARCHITECTURE's table of places exists in the sources.
#[test]
fn architecture_page_names_only_places_that_exist() {
    let architecture = page("docs/ARCHITECTURE.md");
    let rows = part(&architecture, "Where is the thing that …").lines();
    let rows = rows.filter(|line| line.starts_with("| ") && line.contains("::")).count();
    assert!(rows > 100, "the table has only {rows} rows");
    for path in [architecture, page("docs/DECISIONS.md")].iter().flat_map(|page| paths(page)) {
        let (file, item) = file_of(&path);
        let text = fs::read_to_string(&file);
        let text = text.unwrap_or_else(|e| panic!("{path} is not at {}: {e}", file.display()));
        assert!(
            item.is_none_or(|item| defines(&text, item)),
            "{path} is not in {}",
            file.display()
        );
    }
}
