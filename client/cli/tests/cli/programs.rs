//! The three programs: their names, verbs, help, completions and manual pages.

use std::{collections::BTreeSet, fs, path::Path};

use clap::Command;
use zput_cli::cmd::Program;
use zput_skip as skip;
use zput_testkit::{Machine, names};

/// The names of the verbs.
fn verbs() -> Vec<String> {
    let command = Program::Zblob.command();
    command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}

#[test]
fn links_by_the_names_of_the_programs_are_these_programs() {
    let machine = Machine::new();
    machine.write("a", "1");
    let link = "for name in zput zget other; do ln -s \"$(command -v zblob)\" $name; done";
    machine.sh(link).ok();
    machine.sh("./zput a").ok();
    assert_eq!(machine.sh("./zget -o - a").ok().stdout, b"1");
    assert_eq!(machine.sh("./other ls").ok().text(), "a\n");
    for (line, begins) in [
        ("./zget none", "zget: none: "),
        ("./zput none", "zput: cannot read none: "),
        ("./other stat none", "zblob stat: none: "),
        ("./other get none", "zblob get: none: "),
    ] {
        let ran = machine.sh(line).ended(4);
        assert!(ran.stderr.starts_with(begins), "{line}: {}", ran.stderr);
    }
    assert!(machine.sh("./zget --version").ok().text().starts_with("zget "));
    assert!(machine.sh("./zput -h").ok().text().contains("Usage: zput [OPTIONS] [FILE]..."));
}

#[test]
fn programs_are_three() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    assert_eq!(names(&sources), ["zblob.rs", "zget.rs", "zput.rs"]);
    assert_eq!(Program::ALL.map(Program::name), ["zblob", "zput", "zget"]);
}

#[test]
fn versions_name_format_and_protocol() {
    let machine = Machine::new();
    for program in Program::ALL {
        let name = program.name();
        let version = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        let long = machine.run_line(&format!("{name} --version")).ok().text();
        assert_eq!(long, format!("{version}blob format 1, protocol 1\n"));
        assert_eq!(machine.run_line(&format!("{name} -V")).ok().text(), version);
    }
}

#[test]
fn help_has_a_line_for_each_verb_and_a_page() {
    let machine = Machine::new();
    let help = machine.run_line("zblob help").ok().text();
    assert_eq!(machine.run_line("zblob --help").ok().text(), help);
    assert_eq!(machine.run_line("zblob").ended(2).stderr, help);
    for verb in verbs() {
        let begins = format!("  {verb} ");
        let lines: Vec<&str> = help.lines().filter(|line| line.starts_with(&begins)).collect();
        assert!(lines.len() == 1 && lines[0].len() <= 80, "{verb}: {lines:?}");
        let page = machine.run_line(&format!("zblob help {verb}")).ok().text();
        assert!(page.contains(&format!("\nUsage: zblob {verb} ")), "{page}");
        assert_eq!(machine.run_line(&format!("zblob {verb} --help")).ok().text(), page);
    }
    let page = machine.run_line("zblob help key join").ok().text();
    assert!(page.contains("\nUsage: zblob key join "), "{page}");
}

#[test]
fn error_lines_begin_with_program_and_verbs() {
    let machine = Machine::new();
    machine.run_line("zblob key new").ok();
    for (line, code, begins) in [
        ("zblob -q ls", 7, "zblob ls: the key file names no server"),
        ("zblob ls -R", 2, "zblob ls: there is no -R here: "),
        ("zput -r", 2, "zput: there is no -r here: a directory is stored as an archive"),
        ("zblob put -r", 2, "zblob put: there is no -r here: a directory is stored as an archive"),
        ("zblob key join --invite-file none", 1, "zblob key join: cannot read none: "),
        ("zblob key -v show --key none", 7, "zblob key show: "),
    ] {
        let ran = machine.run_line(line).ended(code);
        assert!(ran.stderr.starts_with(begins), "{line}: {}", ran.stderr);
    }
}

#[test]
fn unknown_verb_is_an_error_of_usage() {
    let machine = Machine::new();
    for (line, text) in [
        ("zblob frobnicate", "zblob: there is no verb frobnicate (zblob --help lists"),
        ("zblob list", "zblob: there is no verb list: did you mean ls? ("),
        ("zblob restor", "zblob: there is no verb restor: did you mean restore? ("),
        ("zblob key zzz", "zblob key: there is no verb zzz (zblob key --help lists"),
        ("zblob key dir", "zblob key: there is no verb dir (zblob key --help lists"),
    ] {
        let ran = machine.run_line(line).ended(2);
        assert!(ran.stderr.starts_with(text), "{line}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{line}");
    }
}

#[test]
fn completions_of_bash_complete_verbs_and_options() {
    let machine = Machine::new();
    machine.sh("zblob completions bash >script").ok();
    let script = String::from_utf8(machine.read("script")).unwrap();
    for verb in verbs() {
        assert!(script.contains(&format!("zblob,{verb})")), "{verb}");
    }
    let complete = |program: &str, words: &str| {
        let last = words.rsplit(' ').next().unwrap();
        let ran = machine.sh(&format!(
            "bash -c 'source ./script; COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _{program} {program} {last}; echo \"${{COMPREPLY[@]}}\"'"
        ));
        ran.ok().text()
    };
    assert_eq!(complete("zblob", "zblob res"), "restore\n");
    assert_eq!(complete("zblob", "zblob ls --rev"), "--reverse\n");
    assert_eq!(complete("zput", "zput --if-a"), "--if-absent\n");
    assert_eq!(complete("zget", "zget --verify-o"), "--verify-only\n");
}

#[test]
fn completions_are_printed_for_each_shell_and_program() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let all = machine.run_line(&format!("zblob completions {shell}")).ok().text();
        let one = machine.run_line(&format!("zblob completions {shell} zget")).ok().text();
        assert!(all.contains("zblob") && all.contains("zput"), "{shell}");
        assert!(one.contains("zget") && !one.contains("zblob,"), "{shell}");
    }
    machine.run_line("zblob completions tcsh").ended(2);
}

/// Each shell parses its script, that of all programs and that of each, without running it.
#[test]
fn completions_are_parsed_by_their_shell() {
    let machine = Machine::new();
    for (shell, parse) in [("bash", "bash -n"), ("zsh", "zsh -n"), ("fish", "fish --no-execute")] {
        if machine.sh(&format!("command -v {shell}")).code != Some(0) {
            skip::because(format!("{shell} is not installed"));
            continue;
        }
        // What the shell says of a script that it cannot parse.
        machine.write("broken", "if true; then echo \"\n");
        let broken = machine.sh(&format!("{parse} broken"));
        assert_ne!(broken.code, Some(0), "{shell} takes anything for a script");
        for program in ["", "zblob", "zput", "zget"] {
            machine.sh(&format!("zblob completions {shell} {program} >script")).ok();
            let parsed = machine.sh(&format!("{parse} script")).ok();
            assert_eq!(parsed.stderr, "", "{shell} {program}");
        }
    }
}

/// The manual pages that a command and its subcommands have, with the long options of each.
fn expected_pages(command: &Command, prefix: &str, pages: &mut Vec<(String, BTreeSet<String>)>) {
    let name = format!("{prefix}{}", command.get_name());
    let longs = command.get_arguments().filter_map(|argument| argument.get_long());
    let longs = longs.map(|long| format!("--{long}")).collect();
    for subcommand in command.get_subcommands().filter(|one| one.get_name() != "help") {
        expected_pages(subcommand, &format!("{name}-"), pages);
    }
    pages.push((format!("{name}.1"), longs));
}

#[test]
fn manual_pages_have_every_verb_and_option() {
    let machine = Machine::new();
    machine.run_line("zblob man new/pages").ok();
    let mut expected = Vec::new();
    for program in Program::ALL {
        let mut command = program.command();
        command.build();
        expected_pages(&command, "", &mut expected);
    }
    let directory = machine.file("new/pages");
    let mut written: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    written.sort_unstable();
    assert_eq!(names(&directory), written);
    for page in ["zblob.1", "zblob-ls.1", "zblob-key-join.1", "zput.1", "zget.1"] {
        assert!(written.contains(&page), "{page}");
    }
    for (name, longs) in expected {
        let page = fs::read_to_string(directory.join(&name)).unwrap().replace("\\-", "-");
        for long in longs {
            assert!(page.contains(&long), "{name}: {long}");
        }
        assert!(page.starts_with(".ie"), "{name} begins with {:?}", page.lines().next());
    }
    let page = fs::read_to_string(directory.join("zput.1")).unwrap().replace("\\-", "-");
    for part in ["\n.SH EXAMPLES\n", "\n.SH \"EXIT STATUS\"\n0 ok, 1 other", "--name home.tar -"] {
        assert!(page.contains(part), "{part}");
    }
    machine.write("file", "");
    machine.run_line("zblob man file").ended(1).says("zblob man: cannot write file: ");
}
