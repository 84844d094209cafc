//! Options and verbs of similar tools that do not exist here, and what to use instead.

/// The replacement for `option`, which users of `ls`, `rm`, `cp`, `curl` or `rclone` may type.
pub(super) fn suggestion(verb: &str, option: &str) -> Option<&'static str> {
    let option = option.split(['=', ' ']).next().unwrap_or(option);
    Some(match (verb, option) {
        ("put", "-r" | "-R" | "--recursive" | "-a" | "--archive") => {
            "a directory is stored as an archive: tar c DIR | zput --name DIR.tar -"
        }
        ("put", "-f" | "--force") => {
            "a put makes a new version and keeps the earlier ones, so --force is not needed"
        }
        ("put", "-o" | "--output" | "--as" | "--to") => "--name NAME says what it is stored as",
        ("get", "-r" | "-R" | "--recursive") => "a pattern takes several: zget -o DIR/ 'plans/**'",
        ("get", "-O" | "-c" | "--stdout") => "-o - is stdout",
        ("get", "-p" | "--parents") => "-o DIR/ is created if it is missing",
        ("ls", "-R" | "--recursive") => "all of a vault is listed; --tree shows it by directory",
        ("ls", "-a" | "-A" | "--all") => "nothing is hidden",
        ("ls", "-t") => "--sort time",
        ("ls", "-S") => "--sort size",
        ("ls", "-1") => "a name is a line already",
        ("ls", "-d" | "-F") => "--tree shows directories",
        ("ls", "-b") => "--bytes",
        ("stat", "-r" | "-R" | "--recursive") => "a pattern takes several: zblob stat 'plans/**'",
        ("rm", "-i" | "-I" | "--interactive") => {
            "zblob rm asks at a terminal before it removes many; -n prints what would be removed"
        }
        ("get" | "ls" | "stat" | "open", "-n" | "--dry-run") => "it removes nothing anyway",
        ("put" | "seal", "-n" | "--dry-run") => {
            "there is no dry run; a put makes a new version, and the earlier ones stay"
        }
        ("restore", "-n" | "--dry-run") => "zblob stat --versions NAME lists what can be restored",
        ("restore" | "ls" | "stat", "-f" | "--force") => "nothing is overwritten",
        ("ls", "-H" | "--human-readable") => "--human prints sizes with units",
        (_, "-h" | "-H" | "--human-readable") => "sizes have units on a terminal already",
        (_, "-P" | "--progress") => "progress is shown on a terminal",
        (_, "-s" | "--silent" | "--no-progress") => "--quiet",
        (_, "-d" | "--debug" | "-vv") => "--verbose",
        (_, "-i" | "--interactive") => "there is no confirmation",
        (_, "-c" | "--config" | "-k") => "--key PATH is the only configuration",
        (_, "-r" | "-R" | "--recursive") => "names are flat: a pattern takes several",
        (_, "-f") => "--force, where something can be overwritten",
        (_, "-n") => "there is no dry run here",
        _ => return None,
    })
}

/// The verb for `word`, which other tools have in its place.
pub(super) fn verb(word: &str) -> Option<&'static str> {
    Some(match word {
        "store" | "upload" | "push" | "cp" | "copy" => "put",
        "fetch" | "download" | "pull" | "cat" => "get",
        "list" | "dir" => "ls",
        "info" | "show" | "verify" | "versions" => "stat",
        "remove" | "delete" | "del" => "rm",
        "undelete" | "undo" => "restore",
        "encrypt" => "seal",
        "decrypt" => "open",
        "join" | "init" | "keygen" => "key",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every program has a suggestion for the common options of similar tools.
    #[test]
    fn foreign_options_get_a_suggestion_in_every_program() {
        for verb in ["put", "get", "ls", "stat", "rm", "restore", "seal", "open", "key"] {
            for option in ["-r", "-n", "-f", "-H", "-s", "--recursive"] {
                assert!(suggestion(verb, option).is_some(), "{verb} {option}");
            }
            assert_eq!(suggestion(verb, "--frobnicate"), None);
        }
    }
}
