//! Texts of the library's errors for users: what happened, why, and what to do next.
//!
//! The library knows no command line. What its errors mean for a user of the programs is said here:
//! behind the text and its cause, in parentheses, which a reader of JSON gets as the hint.

use std::{error::Error as StdError, iter, path::Path};

use zput::{
    Error,
    cli::printable,
    error::{
        ConnectionError, EmbeddedError, KeystoreError, ResolveError, RollbackError, SinkError,
        SourceError,
    },
};
use zput_proto::{
    message::{ErrorCode, RemoteError},
    name::BlobName,
    session::SessionError,
};
use zput_seal::blob::open::OpenError;

/// What follows the text of an error after which a stream cannot be sent again.
const STREAM_LOST: &str =
    "stdin and the output of a command cannot be sent again: run the command again";

/// The text of an error: what happened, why, and what to do next.
pub(crate) fn describe(error: &Error) -> String {
    let hint = match error {
        Error::Connection(error) => return of_connection(error),
        Error::Source(error) => return of_source(error),
        Error::Sink(error) => return of_sink(error),
        Error::Rollback(error) => return of_rollback(error),
        Error::Keystore(error) => return of_keystore(error),
        Error::Embedded(error) => return of_embedded(error),
        Error::Open(error) => return of_open(error),
        Error::Seal(_) | Error::Thread(_) => return with_causes(error),
        Error::Journal(error) => {
            return with_hint(
                &with_causes(error),
                "XDG_STATE_HOME names another place for it; --no-resume puts without one",
            );
        }
        Error::Damaged { source, times } => {
            return format!(
                "{}; bytes were damaged {times} times in a row: the network, or the server's disk \
                 or memory, changes them (verified parts are kept; try another network, or let \
                 the operator run zserve scrub)",
                describe(source)
            );
        }
        Error::StreamLost(source) => return format!("{}; {STREAM_LOST}", describe(source)),
        Error::NotStored => {
            return format!("the connection ended before it was stored; {STREAM_LOST}");
        }
        Error::OutcomeUnknown(source) => {
            return format!(
                "{}; whether the server has carried out the request is unknown (zblob stat --versions \
                 NAME shows what it has)",
                describe(source)
            );
        }
        Error::NotRecorded { source, .. } => {
            let text = format!("{error}: {}", of_rollback(source));
            return with_hint(&text, "there is no need to put it again");
        }
        Error::Ahead { .. } => {
            let text = error.to_string();
            if text.contains("set the clock that is wrong") {
                return text;
            }
            let hint = "zget --allow-rollback remembers the current version as the newest";
            return with_hint_before(&text, hint, "; nothing was stored");
        }
        Error::NoRemote => "zblob key join takes an invite; or set remote in it",
        Error::CannotOpen(_) => "use one of role full or get: --key PATH",
        Error::CannotPut(_) => "use one of role full or put: --key PATH",
        Error::NoLaterGeneration => {
            "zblob restore brings an earlier version back; zget --allow-rollback remembers the \
             current version as the newest"
        }
        Error::NothingToResume(_) => "without --resume it starts over",
        Error::PutUnderWay => "without --resume this one starts over",
        Error::Removed(_) => "zblob restore NAME brings it back",
        Error::NoVersion { .. } => "zblob stat --versions lists them",
        Error::NothingRemoved => {
            "zblob restore NAME VERSION takes an earlier version; zblob stat --versions lists them"
        }
        Error::Unreadable(_) => "its operator's zserve check says why",
        _ => return error.to_string(),
    };
    with_hint(&error.to_string(), hint)
}

/// The text of an error, and those of its causes, which it does not repeat.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let causes = iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn with_hint(text: &str, hint: &str) -> String {
    format!("{text} ({hint})")
}

/// The text with the hint before its `end`, or behind it if it ends otherwise.
fn with_hint_before(text: &str, hint: &str, end: &str) -> String {
    match text.strip_suffix(end) {
        Some(text) => format!("{text} ({hint}){end}"),
        None => with_hint(text, hint),
    }
}

fn of_connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Resolve { source, .. } => {
            let text = format!("{error}: {}", with_causes(source));
            match source {
                ResolveError::Unknown(_) => with_hint(&text, "is the network there? try again"),
                _ => text,
            }
        }
        ConnectionError::Connect { .. } => with_hint(&with_causes(error), "is the server running?"),
        ConnectionError::Socket { .. } => with_hint(&with_causes(error), "try again"),
        ConnectionError::Session { remote, source } => match source {
            SessionError::Refused(refusal) if refusal.known() == Some(ErrorCode::Busy) => {
                of_refusal(error, refusal)
            }
            SessionError::AnotherServerKey => with_hint(
                &format!("{remote}: {source}"),
                "then zblob key join takes a new invite from its operator",
            ),
            source => format!("{remote}: {}", with_causes(source)),
        },
        ConnectionError::NotMounted { remote, error: refusal }
            if refusal.known() == Some(ErrorCode::NotFound) && remote.mount().is_some() =>
        {
            error.to_string()
        }
        ConnectionError::Refused { error: refusal, .. }
        | ConnectionError::NotMounted { error: refusal, .. } => of_refusal(error, refusal),
        _ => error.to_string(),
    }
}

fn of_refusal(error: &ConnectionError, refusal: &RemoteError) -> String {
    let text = error.to_string();
    match refusal.known() {
        Some(ErrorCode::NotFound) => with_hint(&text, "zblob ls lists what is there"),
        Some(ErrorCode::Denied) => with_hint(
            &text,
            "its operator gives invites and scopes; zblob key join redeems an invite",
        ),
        Some(ErrorCode::Busy) => {
            with_hint(&text, "try again later; --retries 20 tries for minutes")
        }
        Some(ErrorCode::Suspect) => {
            with_hint_before(&text, "zserve check --clear-suspect", "; reads work")
        }
        Some(ErrorCode::Kind) => {
            with_hint(&text, "--plaintext is for unsealed objects, and only for those")
        }
        _ => text,
    }
}

fn of_source(error: &SourceError) -> String {
    match error {
        SourceError::Directory(path) => with_hint(
            &error.to_string(),
            &format!("tar c {} | zput --name {} -", quoted(path), archive(path)),
        ),
        SourceError::Empty(_) => {
            with_hint(&error.to_string(), "--allow-empty stores an empty blob")
        }
        error => with_causes(error),
    }
}

fn of_sink(error: &SinkError) -> String {
    let hint = match error {
        SinkError::Exists(_) => "--force replaces it",
        SinkError::BlockDevice(_) => "--force overwrites it",
        SinkError::OtherOwner { .. } => "--force writes to it",
        SinkError::Terminal => "-o PATH, or --force if you insist",
        error => return with_causes(error),
    };
    with_hint(&error.to_string(), hint)
}

fn of_rollback(error: &RollbackError) -> String {
    match error {
        RollbackError::File { .. } => {
            with_hint(&with_causes(error), "XDG_STATE_HOME names another place for it")
        }
        error => error.to_string(),
    }
}

fn of_keystore(error: &KeystoreError) -> String {
    let hint = match error {
        KeystoreError::Missing(_) => "zblob key new makes one, zblob key join takes an invite",
        KeystoreError::Exists(_) => "--force replaces it, and what it opens is lost without it",
        error => return with_causes(error),
    };
    with_hint(&error.to_string(), hint)
}

fn of_embedded(error: &EmbeddedError) -> String {
    match error {
        EmbeddedError::Store { path, source } => {
            // The texts of the server's errors have their causes in them.
            format!("the store {}: {source}", path.display())
        }
        error => with_causes(error),
    }
}

fn of_open(error: &OpenError) -> String {
    let text = with_causes(error);
    let advice = match error {
        OpenError::NoIdentityMatches => " (is this the right key file? --key PATH names another)",
        OpenError::Rollback { .. } | OpenError::Equivocation { .. } => {
            ": rollback detected. Either somebody has restored an earlier version, or the server \
             returns an old one by itself (--allow-rollback accepts the current version, --at \
             VERSION asks for an old one)"
        }
        OpenError::Bare => " (zblob open --bare opens such a blob)",
        OpenError::UnpinnedWriter(_) => " (writers in the key file lists them)",
        _ => "",
    };
    format!("{}{advice}", printable(&text))
}

/// `path` quoted as a word of a shell command.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text;
    }
    let dash = if text.starts_with('-') { "./" } else { "" };
    format!("'{dash}{}'", text.replace('\'', "'\\''"))
}

/// A blob name for an archive of the directory at `path`.
fn archive(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}.tar"));
    let is_name = |name: &String| !name.starts_with('-') && BlobName::parse(name).is_ok();
    match name.filter(is_name) {
        Some(name) => quoted(Path::new(&name)),
        None => "NAME.tar".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use zput::error::ConnectionError;

    use super::*;

    fn refused(code: ErrorCode, text: &str) -> Error {
        let remote = Box::new("zput://example.org:7460".parse().unwrap());
        ConnectionError::Refused { remote, error: RemoteError::new(code, text) }.into()
    }

    /// A refused request and a refused connection get the same text with advice.
    #[test]
    fn busy_error_advises_retries_for_request_and_connection() {
        let why = "the limit of uploads in progress is reached";
        let said = "zput://example.org:7460 is busy: the limit of uploads in progress is reached \
                    (try again later; --retries 20 tries for minutes)";
        assert_eq!(describe(&refused(ErrorCode::Busy, why)), said);
        let source = SessionError::Refused(RemoteError::new(ErrorCode::Busy, why));
        let remote = Box::new("zput://example.org:7460".parse().unwrap());
        let error = Error::from(ConnectionError::Session { remote, source });
        assert_eq!(describe(&error), said);
    }

    /// The errors for a missing blob and for a rollback say what to do next.
    #[test]
    fn client_errors_name_the_next_step() {
        assert_eq!(
            describe(&refused(ErrorCode::NotFound, "no")),
            "not found on zput://example.org:7460 (zblob ls lists what is there)"
        );
        assert_eq!(
            describe(&OpenError::Rollback { seen: 9, found: 8 }.into()),
            "the blob has generation 8, and generation 9 has been seen: rollback detected. Either somebody \
             has restored an earlier version, or the server returns an old one by itself \
             (--allow-rollback accepts the current version, --at VERSION asks for an old one)"
        );
    }

    #[test]
    fn a_text_that_goes_on_after_its_hint_does() {
        assert_eq!(
            describe(&refused(ErrorCode::Suspect, "no")),
            "zput://example.org:7460 takes no writes after a failed fsync: its operator has to \
             verify the store (zserve check --clear-suspect); reads work"
        );
        let (server, remote) = (1_796_000_000_000_000_000, "zput://example.org:7447");
        let remote = Box::new(remote.parse().unwrap());
        assert_eq!(
            describe(&Error::Ahead { remote, server, here: server + 1 }),
            "this machine has seen a blob under this name that was sealed far ahead of the clock of \
             zput://example.org:7447, which says 2026-11-30T00:53:20Z (zget --allow-rollback \
             remembers the current version as the newest); nothing was stored"
        );
        assert_eq!(
            describe(&Error::Overtaken { newest: 4_070_908_800_000_000_000 }),
            "the version under this name was sealed at 2099-01-01T00:00:00Z, and this put was not \
             sealed later; nothing was stored (try again)"
        );
    }

    /// The error about a directory shows the quoted tar command that stores it.
    #[test]
    fn directory_error_shows_the_tar_command_that_stores_it() {
        let told = |path: &str| describe(&SourceError::Directory(path.into()).into());
        assert_eq!(
            told("some/photos"),
            "some/photos is a directory (tar c some/photos | zput --name photos.tar -)"
        );
        assert_eq!(
            told("photos/"),
            "photos/ is a directory (tar c photos/ | zput --name photos.tar -)"
        );
        assert_eq!(told(".."), ".. is a directory (tar c .. | zput --name NAME.tar -)");
        assert_eq!(told("/"), "/ is a directory (tar c / | zput --name NAME.tar -)");
        assert_eq!(
            told("it's mine"),
            r"it's mine is a directory (tar c 'it'\''s mine' | zput --name 'it'\''s mine.tar' -)"
        );
        assert_eq!(told("-d"), "-d is a directory (tar c './-d' | zput --name NAME.tar -)");
    }
}
