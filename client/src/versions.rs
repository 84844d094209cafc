//! The versions of one name: which was current at a moment, which is in the trash, and why there is
//! none where one was asked for.

use zput_common::{
    limits::PAGE_MAX_ENTRIES,
    name::BlobName,
    proto::message::{Request, Response, Version, VersionInfo, VersionState},
};

use crate::{
    calendar::{Moment, When},
    client::Client,
    error::ClientError,
    list::Pages,
    notice::{Event, Notice},
};

impl Client {
    /// Lists all versions of `name`, newest first.
    ///
    /// # Errors
    /// When there is none, or the server refuses.
    pub fn versions(&mut self, name: &BlobName) -> Result<Vec<VersionInfo>, ClientError> {
        let key = self.key_file().object_key(name);
        let mut all = Vec::new();
        let mut after = None;
        let mut pages = Pages::default();
        loop {
            let request = Request::Versions { key: key.clone(), after, limit: PAGE_MAX_ENTRIES };
            match self.ask_again(Some(name.as_str()), &request)? {
                Response::Versions { versions, next, unreadable } => {
                    if unreadable > 0 {
                        let thing = Some(name.as_str());
                        self.tell(&Notice { thing, event: Event::Unreadable(unreadable) });
                    }
                    // Newest first: a page that does not go down would be asked for ever.
                    if next.is_some() && after.is_some() && next >= after {
                        return Err(self.leads_back());
                    }
                    let news = versions.len();
                    all.extend(versions);
                    if next.is_none() {
                        return Ok(all);
                    }
                    pages.turn(news)?;
                    after = next;
                }
                _ => return Err(self.connection()?.unexpected("not the versions").into()),
            }
        }
    }

    /// Which version of `name` is meant: that one, or the newest that was committed at or before the
    /// moment. One that lies in the trash now counts: a server does not say since when it does.
    ///
    /// # Errors
    /// When there was none yet, or the versions cannot be listed.
    pub fn version_at(&mut self, name: &BlobName, when: &When) -> Result<Version, ClientError> {
        let Moment { ns, text } = match when {
            When::Version(version) => return Ok(*version),
            When::Moment(moment) => moment,
        };
        let all = match self.versions(name) {
            Ok(all) => all,
            Err(error) => return Err(self.why_absent(name, None, error)),
        };
        match all.iter().find(|info| info.version.0 <= *ns) {
            Some(info) => Ok(info.version),
            None => {
                let oldest = all.last().map_or(Version(0), |info| info.version);
                Err(ClientError::NotYet { moment: text.clone(), oldest })
            }
        }
    }

    /// The newest version of `name` that was removed.
    ///
    /// # Errors
    /// When there is none, or the versions cannot be listed.
    pub fn newest_removed(&mut self, name: &BlobName) -> Result<Version, ClientError> {
        let all = match self.versions(name) {
            Ok(all) => all,
            Err(error) => return Err(self.why_absent(name, None, error)),
        };
        match newest_in_trash(&all) {
            Some(version) => Ok(version),
            None => Err(ClientError::NothingRemoved),
        }
    }

    /// `error`, or what is known beyond it where it says that there is no such blob or version: that
    /// it was removed, which versions there are, which name is meant. A device that may not list
    /// hears no more than `error`.
    pub fn why_absent(
        &mut self,
        name: &BlobName,
        asked: Option<Version>,
        error: ClientError,
    ) -> ClientError {
        if !error.is_absent() {
            return error;
        }
        match self.versions(name) {
            Ok(all) => match (asked, all.first(), newest_in_trash(&all)) {
                (Some(asked), Some(newest), _) => {
                    ClientError::NoVersion { asked, newest: newest.version }
                }
                (None, _, Some(removed)) => ClientError::Removed(removed),
                _ => error,
            },
            Err(other) if other.is_absent() => match self.name_like(name) {
                Some(near) => ClientError::NotFound { near },
                None => error,
            },
            Err(_) => error,
        }
    }

    /// A name that is there and may be meant by `name`, among the first few that the server lists.
    fn name_like(&mut self, name: &BlobName) -> Option<String> {
        let names = self.known_names()?;
        nearest(name.as_str(), names).map(str::to_owned)
    }
}

fn newest_in_trash(versions: &[VersionInfo]) -> Option<Version> {
    let is_removed = |info: &&VersionInfo| info.state == VersionState::Trash;
    versions.iter().find(is_removed).map(|info| info.version)
}

/// The one of `names` that `name` was most likely meant to be: the same last component, or few typing
/// errors away.
fn nearest<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let same_file = names.iter().find(|other| last(other) == last(name));
    // Of a short name nearly every other one is a few characters away.
    let most = (name.chars().count() / 4).min(3);
    let close = names
        .iter()
        .map(|other| (typing_errors(name, other), other))
        .filter(|(errors, _)| *errors <= most)
        .min();
    close.map(|(_, other)| other).or(same_file).map(String::as_str)
}

/// Characters to insert, remove or replace, and neighbours to swap, until `a` is `b` (optimal string
/// alignment). Names have at most 1,024 bytes.
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

    #[test]
    fn a_slip_leads_to_the_name_that_was_meant() {
        let names = ["secret.bin", "plans/a.pdf", "b"].map(str::to_owned);
        let meant = |name| nearest(name, &names);
        assert_eq!(meant("secrt.bin"), Some("secret.bin"));
        assert_eq!(meant("sercet.bin"), Some("secret.bin"));
        assert_eq!(meant("a.pdf"), Some("plans/a.pdf"));
        assert_eq!(meant("plans/b.pdf"), Some("plans/a.pdf"));
        assert_eq!(meant("nothing like it"), None);
        assert_eq!(meant("c"), None);
    }

    #[test]
    fn typing_errors_are_counted() {
        assert_eq!(typing_errors("", ""), 0);
        assert_eq!(typing_errors("", "abc"), 3);
        assert_eq!(typing_errors("abc", ""), 3);
        assert_eq!(typing_errors("kitten", "sitting"), 3);
        assert_eq!(typing_errors("ab", "ba"), 1);
    }
}
