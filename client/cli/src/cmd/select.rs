//! Names and patterns on the command line.
//!
//! `*` and `?` match characters of one component, `**` any number of components, `[ab]` and `{a,b}`
//! one of several. An exact name takes precedence over a pattern.

use globset::{GlobBuilder, GlobMatcher};
use zput::cli::{Listed, Listing, Session};
use zput_proto::name::BlobName;

use super::{Context, Failure};
use crate::error::CommandError;

/// Whether `text` has a character of the pattern syntax.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// Selects names by prefix or, if the text is a pattern, by pattern.
#[derive(Debug)]
pub(super) struct Selector {
    text: String,
    glob: Option<GlobMatcher>,
}

impl Selector {
    /// An invalid pattern is used as a prefix.
    pub(super) fn new(text: &str) -> Self {
        let glob = is_pattern(text).then(|| glob(text)).flatten();
        Self { text: text.to_owned(), glob }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        name.starts_with(&self.text) || self.glob.as_ref().is_some_and(|glob| glob.is_match(name))
    }
}

fn glob(pattern: &str) -> Option<GlobMatcher> {
    let built = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    built.ok().map(|glob| glob.compile_matcher())
}

/// What a name on the command line selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchMode {
    /// The blob of exactly this name.
    Exact,
    /// The blob and everything below its name.
    Recursive,
}

/// The selected blobs: names as they are, patterns as the blobs that match. An invalid entry fails
/// alone. The vault is listed once, and only if an entry needs it.
pub(super) fn expand(
    client: &mut Session,
    texts: &[String],
    mode: MatchMode,
) -> Vec<Result<BlobName, Failure>> {
    let mut listed: Option<Vec<BlobName>> = None;
    let mut selected: Vec<Result<BlobName, Failure>> = Vec::new();
    for text in texts {
        let plain = BlobName::parse(text);
        // An empty name selects nothing, and not the whole vault.
        if text.is_empty() || mode == MatchMode::Exact && !is_pattern(text) {
            selected.push(plain.context(text));
            continue;
        }
        if listed.is_none() {
            match client.list("") {
                Ok(Listing { blobs, .. }) => {
                    listed = Some(blobs.into_iter().map(|blob| blob.metadata.name).collect());
                }
                // A device that may not list can still mean the name itself.
                Err(error) => {
                    let result = match plain {
                        Ok(name) if mode == MatchMode::Exact => Ok(name),
                        _ => Err(error).context(text),
                    };
                    selected.push(result);
                    continue;
                }
            }
        }
        let fits = matching(text, mode, listed.as_deref().unwrap_or_default());
        if fits.is_empty() {
            selected.push(Err(CommandError::NoMatch(text.clone()).into()));
        }
        selected.extend(fits.into_iter().map(Ok));
    }
    deduplicate(selected)
}

/// The same as texts. A pattern without a match is kept, and then is a name that does not exist.
pub(super) fn expand_or_keep(client: &mut Session, texts: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        let selected = expand(client, std::slice::from_ref(text), MatchMode::Exact);
        let names: Vec<String> =
            selected.into_iter().flatten().map(|name| name.to_string()).collect();
        if names.is_empty() { all.push(text.clone()) } else { all.extend(names) }
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|name| seen.insert(name.clone()));
    all
}

/// The entries of `names` that `text` selects.
fn matching(text: &str, mode: MatchMode, names: &[BlobName]) -> Vec<BlobName> {
    let directory = format!("{}/", text.strip_suffix('/').unwrap_or(text));
    let is_exact = |name: &&BlobName| {
        name.as_str() == text
            || mode == MatchMode::Recursive && name.as_str().starts_with(&directory)
    };
    let exact: Vec<BlobName> = names.iter().filter(is_exact).cloned().collect();
    if !exact.is_empty() || !is_pattern(text) {
        return exact;
    }
    let Some(glob) = glob(text) else { return Vec::new() };
    let below = globbed_directory(text, mode);
    let fits = |name: &&BlobName| {
        glob.is_match(name.as_str())
            || below.as_ref().is_some_and(|below| below.is_match(name.as_str()))
    };
    names.iter().filter(fits).cloned().collect()
}

/// A matcher for everything below the directories that a pattern matches.
fn globbed_directory(text: &str, mode: MatchMode) -> Option<GlobMatcher> {
    let directory = text.strip_suffix('/').unwrap_or(text);
    if mode == MatchMode::Recursive { glob(&format!("{directory}/**")) } else { None }
}

/// Removes names that occurred before.
fn deduplicate(selected: Vec<Result<BlobName, Failure>>) -> Vec<Result<BlobName, Failure>> {
    let mut seen = std::collections::HashSet::new();
    selected
        .into_iter()
        .filter(|one| one.as_ref().map_or(true, |name| seen.insert(name.clone())))
        .collect()
}

/// Whether any of `selectors` matches a blob; without selectors, all do.
pub(super) fn is_selected(selectors: &[Selector], blob: &Listed) -> bool {
    selectors.is_empty()
        || selectors.iter().any(|selector| selector.matches(blob.metadata.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<BlobName> {
        texts.iter().map(|text| BlobName::parse(text).unwrap()).collect()
    }

    fn selected(text: &str, mode: MatchMode) -> Vec<String> {
        let names = names(&["a.txt", "b[1].txt", "b1.txt", "p", "p/a.txt", "p/q/c.txt", "pp/x"]);
        matching(text, mode, &names).iter().map(ToString::to_string).collect()
    }

    /// The wildcards * and ? match within one component; ** matches any number.
    #[test]
    fn pattern_wildcards_stay_in_their_component() {
        assert_eq!(selected("*.txt", MatchMode::Exact), ["a.txt", "b[1].txt", "b1.txt"]);
        assert_eq!(selected("p/*", MatchMode::Exact), ["p/a.txt"]);
        assert_eq!(selected("p/**", MatchMode::Exact), ["p/a.txt", "p/q/c.txt"]);
        assert_eq!(selected("**/*.txt", MatchMode::Exact).len(), 5);
        assert_eq!(selected("?.txt", MatchMode::Exact), ["a.txt"]);
        assert_eq!(selected("{a,b1}.txt", MatchMode::Exact), ["a.txt", "b1.txt"]);
        assert_eq!(selected("p*", MatchMode::Exact), ["p"]);
        assert_eq!(selected("*.pdf", MatchMode::Exact), [""; 0]);
    }

    /// A name with pattern characters that exists is taken as a name.
    #[test]
    fn exact_name_takes_precedence_over_pattern() {
        assert_eq!(selected("b[1].txt", MatchMode::Exact), ["b[1].txt"]);
        assert_eq!(selected("b[2].txt", MatchMode::Exact), [""; 0]);
        assert_eq!(selected("b\\[1].txt", MatchMode::Exact), ["b[1].txt"]);
    }

    /// A recursive match takes the name and all names below it, not names it is a prefix of.
    #[test]
    fn recursive_match_takes_names_below_not_neighbours() {
        assert_eq!(selected("p", MatchMode::Recursive), ["p", "p/a.txt", "p/q/c.txt"]);
        assert_eq!(selected("p/", MatchMode::Recursive), ["p/a.txt", "p/q/c.txt"]);
        assert_eq!(selected("p/q", MatchMode::Recursive), ["p/q/c.txt"]);
        assert_eq!(selected("p*", MatchMode::Recursive), ["p", "p/a.txt", "p/q/c.txt", "pp/x"]);
        assert_eq!(selected("x", MatchMode::Recursive), [""; 0]);
    }

    /// A selector of zblob ls matches all names that begin with it, or that fit its pattern.
    #[test]
    fn selector_matches_prefixes_and_patterns() {
        let selector = Selector::new("p");
        assert!(selector.matches("p/a") && selector.matches("pp/x") && !selector.matches("a/p"));
        let selector = Selector::new("*.txt");
        assert!(selector.matches("a.txt") && !selector.matches("p/a.txt"));
        assert!(Selector::new("b[1]").matches("b[1].txt"));
        assert!(Selector::new("[").matches("[a"));
    }
}
