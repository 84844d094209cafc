//! Names and patterns on a command line: which blobs are meant.
//!
//! `*` and `?` stand for characters of one component, `**` for any number of components, `[ab]` and
//! `{a,b}` for one of several. A blob that is called exactly so is meant before any pattern is.

use globset::{GlobBuilder, GlobMatcher};
use zput_common::name::BlobName;

use super::{At, Failure};
use crate::{
    Client, ClientError,
    list::{Listed, Listing},
};

/// Whether `text` has a character that a pattern is made of.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// What begins with a text or, if that is a pattern, fits it.
#[derive(Debug)]
pub(super) struct Selector {
    text: String,
    glob: Option<GlobMatcher>,
}

impl Selector {
    /// Patterns that make no sense are taken for the beginning of a name.
    pub(super) fn new(text: &str) -> Self {
        let glob = is_pattern(text).then(|| glob(text)).flatten();
        Self { text: text.to_owned(), glob }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        name.starts_with(&self.text) || self.glob.as_ref().is_some_and(|glob| glob.is_match(name))
    }
}

fn glob(pattern: &str) -> Option<GlobMatcher> {
    let built = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    built.ok().map(|glob| glob.compile_matcher())
}

/// How far a name on the command line reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It names one blob.
    Name,
    /// It names all that lies below it, too.
    Below,
}

/// The blobs that are meant: a name as it is, a pattern as the blobs that fit it. What is wrong with
/// one of them is a failure of that one. The vault is listed once, and only where a pattern asks for it.
pub(super) fn expand(
    client: &mut Client,
    texts: &[String],
    reach: Reach,
) -> Vec<Result<BlobName, Failure>> {
    let mut listed: Option<Vec<BlobName>> = None;
    let mut meant: Vec<Result<BlobName, Failure>> = Vec::new();
    for text in texts {
        let plain = BlobName::parse(text);
        // An empty one has nothing below it: it is not the whole vault.
        if text.is_empty() || reach == Reach::Name && !is_pattern(text) {
            meant.push(plain.at(text));
            continue;
        }
        if listed.is_none() {
            match client.list("") {
                Ok(Listing { blobs, .. }) => {
                    listed = Some(blobs.into_iter().map(|blob| blob.metadata.name).collect());
                }
                // Who may not list can mean the name itself.
                Err(error) => {
                    let ended = match plain {
                        Ok(name) if reach == Reach::Name => Ok(name),
                        _ => Err(error).at(text),
                    };
                    meant.push(ended);
                    continue;
                }
            }
        }
        let fits = among(text, reach, listed.as_deref().unwrap_or_default());
        if fits.is_empty() {
            meant.push(Err(ClientError::NoMatch(text.clone()).into()));
        }
        meant.extend(fits.into_iter().map(Ok));
    }
    once(meant)
}

/// The same as texts; a pattern that nothing fits stays what it is, and is then a name that is not there.
pub(super) fn spread(client: &mut Client, texts: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        let meant = expand(client, std::slice::from_ref(text), Reach::Name);
        let names: Vec<String> = meant.into_iter().flatten().map(|name| name.to_string()).collect();
        if names.is_empty() { all.push(text.clone()) } else { all.extend(names) }
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|name| seen.insert(name.clone()));
    all
}

/// Those of `names` that `text` means.
fn among(text: &str, reach: Reach, names: &[BlobName]) -> Vec<BlobName> {
    let directory = format!("{}/", text.strip_suffix('/').unwrap_or(text));
    let is_exact = |name: &&BlobName| {
        name.as_str() == text || reach == Reach::Below && name.as_str().starts_with(&directory)
    };
    let exact: Vec<BlobName> = names.iter().filter(is_exact).cloned().collect();
    if !exact.is_empty() || !is_pattern(text) {
        return exact;
    }
    let Some(glob) = glob(text) else { return Vec::new() };
    let below = globbed_directory(text, reach);
    let fits = |name: &&BlobName| {
        glob.is_match(name.as_str())
            || below.as_ref().is_some_and(|below| below.is_match(name.as_str()))
    };
    names.iter().filter(fits).cloned().collect()
}

/// What lies below the directories that a pattern fits.
fn globbed_directory(text: &str, reach: Reach) -> Option<GlobMatcher> {
    let directory = text.strip_suffix('/').unwrap_or(text);
    if reach == Reach::Below { glob(&format!("{directory}/**")) } else { None }
}

/// Each name once, where it came first.
fn once(meant: Vec<Result<BlobName, Failure>>) -> Vec<Result<BlobName, Failure>> {
    let mut seen = std::collections::HashSet::new();
    meant
        .into_iter()
        .filter(|one| one.as_ref().map_or(true, |name| seen.insert(name.clone())))
        .collect()
}

/// Whether one of `selectors` takes a blob; without any, each is taken.
pub(super) fn is_taken(selectors: &[Selector], blob: &Listed) -> bool {
    selectors.is_empty()
        || selectors.iter().any(|selector| selector.takes(blob.metadata.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<BlobName> {
        texts.iter().map(|text| BlobName::parse(text).unwrap()).collect()
    }

    fn meant(text: &str, reach: Reach) -> Vec<String> {
        let names = names(&["a.txt", "b[1].txt", "b1.txt", "p", "p/a.txt", "p/q/c.txt", "pp/x"]);
        among(text, reach, &names).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn patterns_stay_in_their_component() {
        assert_eq!(meant("*.txt", Reach::Name), ["a.txt", "b[1].txt", "b1.txt"]);
        assert_eq!(meant("p/*", Reach::Name), ["p/a.txt"]);
        assert_eq!(meant("p/**", Reach::Name), ["p/a.txt", "p/q/c.txt"]);
        assert_eq!(meant("**/*.txt", Reach::Name).len(), 5);
        assert_eq!(meant("?.txt", Reach::Name), ["a.txt"]);
        assert_eq!(meant("{a,b1}.txt", Reach::Name), ["a.txt", "b1.txt"]);
        assert_eq!(meant("p*", Reach::Name), ["p"]);
        assert_eq!(meant("*.pdf", Reach::Name), [""; 0]);
    }

    #[test]
    fn a_name_is_meant_before_a_pattern() {
        assert_eq!(meant("b[1].txt", Reach::Name), ["b[1].txt"]);
        assert_eq!(meant("b[2].txt", Reach::Name), [""; 0]);
        assert_eq!(meant("b\\[1].txt", Reach::Name), ["b[1].txt"]);
    }

    #[test]
    fn what_lies_below_a_name_is_no_neighbour() {
        assert_eq!(meant("p", Reach::Below), ["p", "p/a.txt", "p/q/c.txt"]);
        assert_eq!(meant("p/", Reach::Below), ["p/a.txt", "p/q/c.txt"]);
        assert_eq!(meant("p/q", Reach::Below), ["p/q/c.txt"]);
        assert_eq!(meant("p*", Reach::Below), ["p", "p/a.txt", "p/q/c.txt", "pp/x"]);
        assert_eq!(meant("x", Reach::Below), [""; 0]);
    }

    #[test]
    fn a_prefix_takes_what_begins_with_it() {
        let selector = Selector::new("p");
        assert!(selector.takes("p/a") && selector.takes("pp/x") && !selector.takes("a/p"));
        let selector = Selector::new("*.txt");
        assert!(selector.takes("a.txt") && !selector.takes("p/a.txt"));
        assert!(Selector::new("b[1]").takes("b[1].txt"));
        assert!(Selector::new("[").takes("[a"));
    }
}
