//! The versions of one name: the version at a given time, the newest in the trash, and the reason
//! why a version does not exist.

use zput_proto::{
    limits::PAGE_MAX_ENTRIES,
    message::{Request, Response, Version, VersionInfo, VersionState},
    name::BlobName,
};

use super::list::ListingLimits;
use crate::{
    calendar::{Moment, When},
    error::Error,
    event::{Event, Notice},
    session::Session,
};

impl Session {
    /// Lists all versions of `name`, newest first.
    ///
    /// # Errors
    /// When there is none, or the server refuses.
    pub fn versions(&mut self, name: &BlobName) -> Result<Vec<VersionInfo>, Error> {
        let key = self.key_file().object_key(name);
        let mut all = Vec::new();
        let mut after = None;
        let mut limits = ListingLimits::default();
        loop {
            let request = Request::Versions { key: key.clone(), after, limit: PAGE_MAX_ENTRIES };
            match self.call_with_retries(Some(name.as_str()), &request)? {
                Response::Versions { versions, next, unreadable } => {
                    if unreadable > 0 {
                        let thing = Some(name.as_str());
                        self.notify(&Notice { thing, event: Event::Unreadable(unreadable) });
                    }
                    // Versions are listed newest first; a page that does not descend would repeat
                    // for ever.
                    if next.is_some() && after.is_some() && next >= after {
                        return Err(self.not_advancing());
                    }
                    let new = versions.len();
                    all.extend(versions);
                    if next.is_none() {
                        return Ok(all);
                    }
                    limits.count_page(new)?;
                    after = next;
                }
                _ => return Err(self.connection()?.unexpected("not the versions").into()),
            }
        }
    }

    /// The version that `when` means: that number, or the newest version committed at or before
    /// that time. A version in the trash counts, because the server does not state when it was
    /// moved there.
    ///
    /// # Errors
    /// When there was no version yet, or the versions cannot be listed.
    pub fn version_at(&mut self, name: &BlobName, when: &When) -> Result<Version, Error> {
        let Moment { ns, text } = match when {
            When::Version(version) => return Ok(*version),
            When::Moment(moment) => moment,
        };
        let all = match self.versions(name) {
            Ok(all) => all,
            Err(error) => return Err(self.explain_not_found(name, None, error)),
        };
        match all.iter().find(|info| info.version.0 <= *ns) {
            Some(info) => Ok(info.version),
            None => {
                let oldest = all.last().map_or(Version(0), |info| info.version);
                Err(Error::NotYet { moment: text.clone(), oldest })
            }
        }
    }

    /// The newest version of `name` in the trash.
    ///
    /// # Errors
    /// When there is none, or the versions cannot be listed.
    pub fn newest_removed(&mut self, name: &BlobName) -> Result<Version, Error> {
        let all = match self.versions(name) {
            Ok(all) => all,
            Err(error) => return Err(self.explain_not_found(name, None, error)),
        };
        match newest_in_trash(&all) {
            Some(version) => Ok(version),
            None => Err(Error::NothingRemoved),
        }
    }

    /// Explains an `error` that says that a blob or version does not exist: it was removed, which
    /// versions exist, or which similar name exists. Returns other errors unchanged, and `error`
    /// itself for a device that may not list.
    pub fn explain_not_found(
        &mut self,
        name: &BlobName,
        asked: Option<Version>,
        error: Error,
    ) -> Error {
        if !error.is_no_such_object() {
            return error;
        }
        match self.versions(name) {
            Ok(all) => match (asked, all.first(), newest_in_trash(&all)) {
                (Some(asked), Some(newest), _) => {
                    Error::NoVersion { asked, newest: newest.version }
                }
                (None, _, Some(removed)) => Error::Removed(removed),
                _ => error,
            },
            Err(other) if other.is_no_such_object() => match self.similar_name(name) {
                Some(near) => Error::NotFound { near },
                None => error,
            },
            Err(_) => error,
        }
    }

    /// A similar name that exists, among the first few that the server lists.
    fn similar_name(&mut self, name: &BlobName) -> Option<String> {
        let names = self.known_names()?;
        nearest(name.as_str(), names).map(str::to_owned)
    }
}

fn newest_in_trash(versions: &[VersionInfo]) -> Option<Version> {
    let is_removed = |info: &&VersionInfo| info.state == VersionState::Trash;
    versions.iter().find(is_removed).map(|info| info.version)
}

/// The entry of `names` that `name` was most likely meant to be: the same last component, or few
/// typing errors away.
fn nearest<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let same_file = names.iter().find(|other| last(other) == last(name));
    // Nearly all short names are only a few characters apart.
    let most = (name.chars().count() / 4).min(3);
    let close = names
        .iter()
        .map(|other| (typing_errors(name, other), other))
        .filter(|(errors, _)| *errors <= most)
        .min();
    close.map(|(_, other)| other).or(same_file).map(String::as_str)
}

/// Edit distance of `a` and `b`: characters to insert, remove or replace, and neighbours to swap
/// (optimal string alignment). Names have at most 1,024 bytes.
fn typing_errors(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mistyped name leads to the nearest existing name, or to none.
    #[test]
    fn nearest_suggests_the_name_that_was_meant() {
        let names = ["secret.bin", "plans/a.pdf", "b"].map(str::to_owned);
        let selected = |name| nearest(name, &names);
        assert_eq!(selected("secrt.bin"), Some("secret.bin"));
        assert_eq!(selected("sercet.bin"), Some("secret.bin"));
        assert_eq!(selected("a.pdf"), Some("plans/a.pdf"));
        assert_eq!(selected("plans/b.pdf"), Some("plans/a.pdf"));
        assert_eq!(selected("nothing like it"), None);
        assert_eq!(selected("c"), None);
    }

    /// Typing errors count insertions, deletions, changes and swaps.
    #[test]
    fn typing_errors_count_edits_and_swaps() {
        assert_eq!(typing_errors("", ""), 0);
        assert_eq!(typing_errors("", "abc"), 3);
        assert_eq!(typing_errors("abc", ""), 3);
        assert_eq!(typing_errors("kitten", "sitting"), 3);
        assert_eq!(typing_errors("ab", "ba"), 1);
    }
}
