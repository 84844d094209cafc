//! Options of similar tools that do not exist here, and what to use instead.

/// The replacement for `option`, which users of `ls`, `rm`, `cp`, `curl` or `rclone` may type.
pub(super) fn suggestion(command: &str, option: &str) -> Option<&'static str> {
    let option = option.split(['=', ' ']).next().unwrap_or(option);
    Some(match (command, option) {
        ("zput", "-r" | "-R" | "--recursive" | "-a" | "--archive") => {
            "a directory is stored as an archive: tar c DIR | zput --name DIR.tar -"
        }
        ("zput", "-f" | "--force") => {
            "a put makes a new version and keeps the earlier ones, so there is nothing to force"
        }
        ("zput", "-o" | "--output" | "--as" | "--to") => "--name NAME says what it is stored as",
        ("zget", "-r" | "-R" | "--recursive") => "a pattern takes several: zget -o DIR/ 'plans/**'",
        ("zget", "-O" | "-c" | "--stdout") => "-o - is stdout",
        ("zget", "-p" | "--parents") => "-o DIR/ is made where it is missing",
        ("zls", "-R" | "--recursive") => "all of a vault is listed; --tree shows it by directory",
        ("zls", "-a" | "-A" | "--all") => "nothing is hidden",
        ("zls", "-t") => "--sort time",
        ("zls", "-S") => "--sort size",
        ("zls", "-1") => "a name is a line already",
        ("zls", "-d" | "-F") => "--tree shows directories",
        ("zls", "-b") => "--bytes",
        ("zstat", "-r" | "-R" | "--recursive") => "a pattern takes several: zstat 'plans/**'",
        ("zrm", "-i" | "-I" | "--interactive") => {
            "a person at a terminal is asked when many go; -n only says what would"
        }
        ("zget" | "zls" | "zstat" | "zopen", "-n" | "--dry-run") => "it removes nothing anyway",
        ("zput" | "zseal", "-n" | "--dry-run") => {
            "there is no dry run; a put makes a new version, and the earlier ones stay"
        }
        ("zrestore", "-n" | "--dry-run") => "zstat --versions NAME lists what can be restored",
        ("zrestore" | "zls" | "zstat", "-f" | "--force") => "there is nothing to force",
        ("zls", "-H" | "--human-readable") => "--human says sizes as people do",
        (_, "-h" | "-H" | "--human-readable") => "sizes are for people on a terminal already",
        (_, "-P" | "--progress") => "progress is shown on a terminal",
        (_, "-s" | "--silent" | "--no-progress") => "--quiet",
        (_, "-d" | "--debug" | "-vv") => "--verbose",
        (_, "-i" | "--interactive") => "nobody is asked",
        (_, "-c" | "--config" | "-k") => "--key PATH is all the configuration there is",
        (_, "-r" | "-R" | "--recursive") => "names are flat: a pattern takes several",
        (_, "-f") => "--force, where there is something to force",
        (_, "-n") => "there is no dry run here",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fingers_know_is_answered_everywhere() {
        for command in ["zput", "zget", "zls", "zstat", "zrm", "zrestore", "zseal", "zopen", "zkey"]
        {
            for option in ["-r", "-n", "-f", "-H", "-s", "--recursive"] {
                assert!(suggestion(command, option).is_some(), "{command} {option}");
            }
            assert_eq!(suggestion(command, "--frobnicate"), None);
        }
    }
}
