//! Names, times, patterns and messages: what the commands print and accept.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;
use zput_skip::{self as skip, or_skip};
use zput_testkit::{Machine, Ran, StoreServer, command_path, names};

use crate::keys::{on_terminal, shell_on_terminal};

/// A machine whose vault has these names.
fn vault(blobs: &[&str]) -> Machine {
    let machine = Machine::new();
    machine.write("file", "1");
    for name in blobs {
        machine.run("zput", ["--quiet", "--name", name, "file"]).ok();
    }
    machine
}

fn with(machine: &Machine, variable: &str, value: &str, line: &str) -> Ran {
    let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
    let mut command = machine.command(name);
    command.args(arguments.split_whitespace()).env(variable, value);
    command.output().unwrap().into()
}

/// Names with odd Unicode pass through a pipe unchanged and work as arguments.
#[test]
fn zblob_ls_prints_names_unchanged_to_a_pipe() {
    // Zero width joiners and non-joiners, direction marks, separators, and a text that looks like
    // an escape.
    let odd = [
        "back\\u{200d}",
        "a\u{feff}b\u{2028}c",
        "exe.\u{202e}txt",
        "می\u{200c}خواهم.pdf",
        "क्\u{200d}ष.txt",
        "👨\u{200d}👩\u{200d}👧.jpg",
    ];
    let machine = vault(&odd);
    let mut expected: Vec<&str> = odd.to_vec();
    expected.sort_unstable();
    let listed = machine.run_line("zblob ls").ok().text();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    let ended = machine.run_line("zblob ls -0").ok().text();
    assert_eq!(ended, expected.iter().map(|name| format!("{name}\0")).collect::<String>());
    for name in listed.lines() {
        assert_eq!(machine.run("zget", ["-o", "-", "--", name]).ok().stdout, b"1");
        machine.run("zblob stat", ["--", name]).ok();
        let long = machine.run("zblob ls", ["-l", "--", name]).ok().text();
        assert!(long.ends_with(&format!(" {name}\n")), "{long}");
    }
    machine.run("zblob rm", listed.lines()).ok();
    assert_eq!(machine.run_line("zblob ls").ok().text(), "");
}

/// A modification time before 1970 is printed by zblob ls and zblob stat.
#[test]
fn mtime_before_1970_is_printed_as_a_time() {
    let machine = Machine::new();
    machine.write("old", "1");
    // 1938-04-24T22:13:20Z.
    let time = UNIX_EPOCH - Duration::from_secs(1_000_000_000);
    File::options().write(true).open(machine.file("old")).unwrap().set_modified(time).unwrap();
    machine.run_line("zput old").ok();
    let long = machine.run_line("zblob ls -l").ok().text();
    assert!(long.contains(" 1938-04-24T22:13:20Z old\n"), "{long}");
    assert_eq!(machine.run_line("zblob ls --json").ok().json("mtime"), "1938-04-24T22:13:20Z");
    assert_eq!(
        machine.run_line("zblob stat --json old").ok().json("mtime"),
        "1938-04-24T22:13:20Z"
    );
    assert!(
        machine
            .run_line("zblob stat old")
            .ok()
            .text()
            .contains("modified   1938-04-24T22:13:20Z\n")
    );
}

/// On a file system that can store them: what is sealed, listed, got and opened has the file's
/// time.
#[test]
fn mtime_of_any_year_is_printed_and_restored() {
    let memory = tempfile::tempdir_in("/dev/shm");
    let memory = or_skip!(memory.map_err(|error| format!("no file system in memory: {error}")));
    let machine = Machine::new();
    let at = |name: &str| memory.path().join(name).display().to_string();
    let modified = |name: &str| fs::metadata(at(name)).unwrap().mtime();
    for (seconds, told) in [
        (-1_000_000_000, "1938-04-24T22:13:20Z"),
        // The first second that RFC 3339 cannot express.
        (253_402_300_800, "+010000-01-01T00:00:00Z"),
    ] {
        fs::write(at("f"), "1").unwrap();
        let span = Duration::from_secs(i64::unsigned_abs(seconds));
        let time = if seconds < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span };
        File::options().write(true).open(at("f")).unwrap().set_modified(time).unwrap();
        if modified("f") != seconds {
            return skip::because(format!("/dev/shm does not keep {told}"));
        }
        machine.run_line(&format!("zput {}", at("f"))).ok();
        let long = machine.run_line("zblob ls -l").ok().text();
        assert!(long.contains(&format!(" {told} f\n")), "{long}");
        let stat = machine.run_line("zblob stat f").ok().text();
        assert!(stat.contains(&format!(" {told}\n")), "{stat}");
        machine.run_line(&format!("zblob seal -o {} {}", at("sealed"), at("f"))).ok();
        let get = format!("zget --json -o {} f", at("got"));
        let open = format!("zblob open --json -o {} {}", at("opened"), at("sealed"));
        for line in ["zblob ls --json", "zblob stat --json f", &get, &open] {
            assert_eq!(machine.run_line(line).ok().json("mtime"), told, "{line}");
        }
        for name in ["got", "opened"] {
            assert_eq!(modified(name), seconds, "{name}");
        }
        for name in ["got", "opened", "sealed"] {
            fs::remove_file(at(name)).unwrap();
        }
    }
}

/// A bad name among several arguments of zblob stat or zblob rm fails alone.
#[test]
fn one_bad_name_of_several_fails_alone() {
    let machine = vault(&["a", "b", "c"]);
    for bad in ["../a", "/a", "", "a//b", "none"] {
        let ran = machine.run("zblob stat", ["a", bad, "b"]).ended(3).says("1 of 3 failed");
        assert!(ran.text().contains("name       b\n"), "{bad}");
    }
    machine.run("zblob rm", ["a", "../x", "b"]).ended(3).says("1 of 3 failed");
    assert_eq!(machine.run_line("zblob ls").ok().text(), "c\n");
}

/// An empty argument fails alone among several, and is a usage error by itself.
#[test]
fn empty_argument_of_several_fails_alone() {
    let machine = vault(&["a", "b"]);
    machine.write("f", "1");
    machine.run("zput", ["", "f"]).ended(3).says("zput: '': ").says("1 of 2 failed");
    machine.run("zput", ["--name", "n", ""]).ended(2).says("zput: '': ");
    machine.run("zget", ["", "a"]).ended(3).says("zget: '': ").says("1 of 2 failed");
    assert_eq!(machine.names(), ["a", "f", "file"]);
    machine.run("zget", [""]).ended(2).says("zget: '': ");
    machine.run("zblob stat", ["", "a"]).ended(3).says("zblob stat: '': ");
    machine.run("zblob rm", ["", "a"]).ended(3).says("zblob rm: '': ").says("1 of 2 failed");
    machine.run("zblob rm", ["-r", ""]).ended(2).says("zblob rm: '': ");
    machine.run("zblob restore", [""]).ended(2).says("zblob restore: '': ");
    assert_eq!(machine.run_line("zblob ls").ok().text(), "b\nf\n");
}

/// A name that is not UTF-8 fails alone among several.
#[test]
fn non_utf8_name_of_several_fails_alone() {
    use std::os::unix::ffi::OsStrExt as _;
    let machine = vault(&["a"]);
    for name in ["zblob stat", "zget", "zblob rm"] {
        let mut command = machine.command(name);
        command.arg("a").arg(std::ffi::OsStr::from_bytes(b"\xff"));
        let ran: Ran = command.output().unwrap().into();
        ran.ended(3).says("is not UTF-8").says("1 of 2 failed");
    }
}

/// An invite or identity on the command line is refused and not repeated.
#[test]
fn secret_argument_is_refused_and_not_repeated() {
    let machine = vault(&["a"]);
    let invite = format!("zputinvite1{}", "q".repeat(60));
    let identity = format!("AGE-SECRET-KEY-1{}", "Q".repeat(58));
    for line in [
        &["zblob key", "join", &invite][..],
        &["zblob key", &invite],
        &["zblob key", "join", "--invite-file", &invite],
        &["zblob key", "join", &format!("--invite-file={invite}")],
        &["zblob key", "join", "--label", &invite],
        &["zget", "--json", &invite],
        &["zblob open", "--identity", &identity, "a"],
    ] {
        let ran = machine.run(line[0], &line[1..]).ended(2).says("is a secret");
        let said = format!("{}{}", ran.stderr, ran.text()).to_lowercase();
        assert!(!said.contains("qqq"), "{line:?}: {said}");
    }
    machine.run_line("zget zputinvite1-notes").ended(4);
}

/// The error about a missing second file suggests --name.
#[test]
fn zput_suggests_name_option_for_a_missing_second_file() {
    let machine = vault(&["a"]);
    let ran = machine.run_line("zput file b").ended(3).says("did you mean zput --name b file?");
    ran.says("cannot read b: No such file").says("1 of 2 failed");
    assert_eq!(machine.run_line("zblob ls").ok().text(), "a\nfile\n");
}

/// The option --at selects a version by number or time, and explains a missing one.
#[test]
fn version_at_a_time_is_selected() {
    let machine = Machine::new();
    machine.write("f", "one");
    let first = machine.run_line("zput --json f").ok().json("version");
    let first = first.as_str().unwrap().to_owned();
    machine.write("f", "two");
    let second = machine.run_line("zput --json f").ok();
    let get = |at: &str| machine.run("zget", ["--at", at, "-o", "-", "f"]);
    assert_eq!(get(&first).ok().stdout, b"one");
    for now in ["now", "today"] {
        assert_eq!(get(now).ok().stdout, b"two");
    }
    // Between the two, to the nanosecond.
    let ns: i64 = first.parse().unwrap();
    let moment =
        zput::cli::precise_time(ns / 1_000_000_000, u32::try_from(ns % 1_000_000_000).unwrap());
    assert_eq!(get(&moment).ok().stdout, b"one");
    let ran = machine.run("zblob stat", ["--json", "--at", &moment, "f"]).ok();
    assert_eq!(ran.json("version"), first);
    get("2000-01-01").ended(4).says("it did not exist at").says(&first);
    get("3 years ago").ended(4).says("it did not exist at");
    get("WRONG").ended(2).says("neither a version nor a time");
    let newest = second.json("version").as_str().unwrap().to_owned();
    get("5").ended(4).says(&format!("it has no version 5; the newest is {newest} of 20"));
    machine.run("zblob restore", ["f", &moment]).ok();
    assert_eq!(machine.run_line("zget -o - f").ok().stdout, b"one");
}

/// A removed blob is reported as removed, and zblob restore needs no version.
#[test]
fn removed_blob_is_reported_and_restored_without_a_version() {
    let machine = vault(&["f", "g"]);
    machine.run_line("zblob rm f").ok();
    for line in ["zget f", "zget --verify-only f", "zblob stat f", "zblob rm f"] {
        machine
            .run_line(line)
            .ended(4)
            .says("f: it was removed")
            .says("zblob restore NAME brings it back");
    }
    machine.run_line("zblob restore f").ok();
    machine.run_line("zget -o copy f").ok();
    machine.run_line("zblob restore f").ended(4).says("no version of it is in the trash");
    machine.run_line("zblob restore never").ended(4).says("not found");
}

/// Patterns select blobs for zblob ls, zblob stat, zget and zblob rm, and no match is an error.
#[test]
fn patterns_select_blobs_in_every_command() {
    let machine = vault(&["a.txt", "b.pdf", "p/c.txt", "p/d.pdf", "p/q/e.txt", "pp"]);
    let listed = |pattern: &str| machine.run("zblob ls", [pattern]).ok().text();
    assert_eq!(listed("*.txt"), "a.txt\n");
    assert_eq!(listed("**/*.txt"), "a.txt\np/c.txt\np/q/e.txt\n");
    assert_eq!(listed("p/"), "p/c.txt\np/d.pdf\np/q/e.txt\n");
    assert_eq!(listed("p"), "p/c.txt\np/d.pdf\np/q/e.txt\npp\n");
    machine.run_line("zblob ls nosuch").ended(4).says("nothing matches nosuch");
    machine.run_line("zblob ls a.txt nosuch").ended(3).says("nothing matches nosuch");
    let stat = machine.run_line("zblob stat --json p/*").ok().text();
    let stat_names: Vec<Value> = stat
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].clone())
        .collect();
    assert_eq!(stat_names, ["p/c.txt", "p/d.pdf"]);
    fs::create_dir(machine.file("out")).unwrap();
    machine.run_line("zget -o out/ **/*.txt").ok();
    assert_eq!(names(&machine.file("out")), ["a.txt", "c.txt", "e.txt"]);

    machine.run_line("zblob rm *.doc").ended(4).says("nothing matches *.doc");
    assert_eq!(machine.run_line("zblob rm -rn p").ok().text(), "p/c.txt\np/d.pdf\np/q/e.txt\n");
    assert_eq!(listed("**").lines().count(), 6);
    machine.run_line("zblob rm p/*.pdf").ok();
    machine.run_line("zblob rm -r p").ok();
    assert_eq!(listed(""), "a.txt\nb.pdf\npp\n");
    machine.run_line("zblob rm -r p").ended(4).says("nothing matches p");
    machine.run_line("zblob rm -f p nosuch").ok();
}

/// Listings are sorted by name, size or time and show sizes in bytes or units.
#[test]
fn zblob_ls_sorts_and_formats_sizes_as_asked() {
    let machine = Machine::new();
    for (name, size, seconds) in [("a", 2_048, 30), ("b", 5, 10), ("c", 70, 20)] {
        machine.write(name, vec![1; size]);
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(machine.file(name)).unwrap().set_modified(time).unwrap();
        machine.run_line(&format!("zput {name}")).ok();
    }
    assert_eq!(machine.run_line("zblob ls --sort size").ok().text(), "a\nc\nb\n");
    assert_eq!(machine.run_line("zblob ls --sort time").ok().text(), "a\nc\nb\n");
    assert_eq!(machine.run_line("zblob ls --sort time -r").ok().text(), "b\nc\na\n");
    let long = machine.run_line("zblob ls -l").ok().text();
    assert!(long.contains(" 2048 1970-01-01T00:00:30Z a\n"), "{long}");
    assert!(long.contains("    5 1970-01-01T00:00:10Z b\n"), "{long}");
    for line in ["zblob ls -lh", "zblob ls -l --human"] {
        let long = machine.run_line(line).ok().text();
        assert!(long.contains(" 2 KiB 1970-01-01T00:00:30Z a\n"), "{long}");
    }
    assert!(machine.run_line("zblob ls -h").ok().text().contains("Usage: zblob ls"));
    assert!(machine.run_line("zblob ls --tree").ok().text().contains("a  2 KiB\n"));
}

/// A mistyped name, or an option of another tool, is answered with a suggestion.
#[test]
fn mistyped_name_or_option_gets_a_suggestion() {
    let machine = vault(&["secret.bin"]);
    machine.run_line("zget secrt.bin").ended(4).says("did you mean secret.bin?");
    machine.run_line("zblob stat plans/secret.bin").ended(4).says("did you mean secret.bin?");
    machine.run_line("zget --forse x").ended(2).says("did you mean --force?");
    for (line, says) in [
        ("zput -r x", "tar c DIR"),
        ("zblob ls -R", "--tree"),
        ("zblob ls -S", "--sort size"),
        ("zget -n x", "removes nothing"),
        ("zput -f x", "--force is not needed"),
        ("zget --human-readable x", "sizes have units"),
    ] {
        let ran = machine.run_line(line).ended(2).says(says);
        assert!(!ran.stderr.contains("tip:"), "{}", ran.stderr);
    }
}

/// A device that may not list is told of a missing blob only that it is not found.
#[test]
fn device_without_list_scope_gets_plain_not_found() {
    use zput_proto::message::Scopes;
    let served = StoreServer::private();
    let laptop = served.member();
    laptop.write("a", "1");
    laptop.run_line("zput a").ok();
    laptop.run_line("zblob key export --full -o fleet.zkey").ok();
    let fleet = Machine::new();
    fleet.write("k.zkey", laptop.read("fleet.zkey"));
    fleet
        .run_line_on(served.invite_text(Scopes::GET).as_bytes(), "zblob key join --key k.zkey")
        .ok();
    fleet.run_line("zget --key k.zkey b").ended(4).says("not found");
    fleet.run_line("zget --key k.zkey -o - a").ok();
}

/// The option --quiet prints errors only, and --verbose prints what was done.
#[test]
fn quiet_prints_only_errors_and_verbose_prints_actions() {
    let machine = Machine::new();
    machine.write("a", "1");
    assert_eq!(machine.run_line("zput -q a").ok().stderr, "");
    machine.run_line("zget -q none").ended(4).says("not found");
    machine.run_line("zput -v a").ok().says("a → file://").says("  1 B  version ");
    machine.run_line("zget -v -o b a").ok().says("a → b  1 B  version ");
    assert_eq!(machine.run_line("zput a").ok().stderr, "");
}

/// Options come from ZPUT_ variables, and the command line takes precedence.
#[test]
fn environment_options_yield_to_the_command_line() {
    let machine = vault(&["a", "b"]);
    assert!(
        with(&machine, "ZPUT_JSON", "1", "zblob ls").ok().text().starts_with("{\"name\":\"a\"")
    );
    for nothing in ["", "0", "no", "false"] {
        assert_eq!(with(&machine, "ZPUT_JSON", nothing, "zblob ls").ok().text(), "a\nb\n");
    }
    assert_eq!(with(&machine, "ZPUT_REVERSE", "yes", "zblob ls").ok().text(), "b\na\n");
    assert_eq!(with(&machine, "ZPUT_SORT", "size", "zblob ls --sort name").ok().text(), "a\nb\n");
    // The variable conflicts with a typed option.
    with(&machine, "ZPUT_PREFIX", "laptop", "zput --name c file").ok();
    with(&machine, "ZPUT_PREFIX", "laptop", "zput file").ok();
    assert_eq!(machine.run_line("zblob ls").ok().text(), "a\nb\nc\nlaptop/file\n");
    with(&machine, "ZPUT_QUIET", "1", "zput -v file").ok().says("file → file://");
    with(&machine, "ZPUT_RETRIES", "many", "zblob ls").ended(2).says("ZPUT_RETRIES is \"many\"");
    with(&machine, "ZPUT_SORT", "colour", "zblob ls").ended(2).says("ZPUT_SORT is \"colour\"");
    // Options that replace something or lower a guard have to be typed.
    machine.run_line("zget -o copy a").ok();
    with(&machine, "ZPUT_FORCE", "1", "zget -o copy a").ended(10);
}

/// With --json a failure is an object with its code, exit code, name and hint.
#[test]
fn json_failure_is_an_object_with_code_and_name() {
    let machine = vault(&["a"]);
    let error = |ran: &Ran| {
        let text = ran.text();
        let line = text.lines().rfind(|line| line.starts_with("{\"error\"")).unwrap();
        serde_json::from_str::<Value>(line).unwrap()["error"].clone()
    };
    let ran = machine.run_line("zget --json none").ended(4);
    let not_found = error(&ran);
    assert_eq!((&not_found["code"], &not_found["exit"]), (&"not-found".into(), &4.into()));
    assert_eq!(
        (&not_found["name"], &not_found["hint"]),
        (&"none".into(), &"zblob ls lists what is there".into())
    );
    let ran = machine.run_line("zblob stat --json a none").ended(3);
    assert_eq!(ran.text().lines().count(), 2);
    assert_eq!(error(&ran)["name"], "none");
    // The text names the file itself, and the `name` field is there nevertheless: for one file and
    // for several.
    for line in ["zput --json gone.bin", "zput --json gone.bin file"] {
        assert_eq!(error(&machine.run_line(line))["name"], "gone.bin", "{line}");
    }
    let ran = machine.run_line("zput --json --exec --name x -- false").ended(1);
    assert_eq!(error(&ran)["name"], "x", "what it was to be stored as");
    let ran = machine.run_line("zblob ls --json --colour").ended(2);
    assert_eq!((&error(&ran)["code"], &error(&ran)["exit"]), (&"usage".into(), &2.into()));
    let ran = machine.run_line("zblob rm --json").ended(2);
    assert_eq!(error(&ran)["code"], "usage");
}

/// On a terminal zblob ls escapes characters that the terminal would act upon.
#[test]
fn zblob_ls_escapes_names_for_a_terminal() {
    let machine = vault(&["exe.\u{202e}txt", "b"]);
    let (code, shown) = on_terminal(&machine, "zblob ls", &[]);
    assert_eq!((code, shown.as_str()), (Some(0), "b\r\nexe.\\u{202e}txt\r\n"));
    let (_, long) = on_terminal(&machine, "zblob ls -l", &[]);
    assert!(long.contains(" 1 B ") && long.ends_with("2 blobs, 2 B\r\n"), "{long}");
}

/// On a terminal zput reports success, and zblob rm asks before it removes several blobs.
#[test]
fn terminal_shows_success_and_zblob_rm_asks_before_removing_many() {
    let machine = vault(&["p/a", "p/b", "p/c", "p/d"]);
    let (code, shown) = on_terminal(&machine, "zput file", &[]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("file → file://") && shown.contains("  1 B  version "), "{shown}");
    assert!(shown.ends_with(" ms\r\n") || shown.ends_with(" s\r\n"), "{shown}");
    assert_eq!(on_terminal(&machine, "zput -q file", &[]).1, "");
    // Of several: one line, however many there are.
    machine.write("other", b"two");
    let (code, shown) = on_terminal(&machine, "zput file other gone", &[]);
    assert_eq!(code, Some(3));
    assert!(shown.contains("2 of 2 files → file://") && shown.contains("  4 B  "), "{shown}");
    assert!(!shown.contains("file → file://"), "{shown}");
    machine.run_line("zblob rm file other").ok();
    let (code, shown) = on_terminal(&machine, "zblob rm -r p", &["n"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("Move 4 blobs to the trash") && shown.contains("nothing was removed"));
    assert_eq!(machine.run_line("zblob ls p/").ok().text().lines().count(), 4);
    assert_eq!(on_terminal(&machine, "zblob rm -r p", &["y"]).0, Some(0));
    machine.run_line("zblob ls p/").ended(4);
}

/// The bar is drawn on a terminal with a movable cursor, and not with --quiet.
#[test]
fn progress_bar_is_drawn_only_on_a_capable_terminal() {
    let machine = vault(&["a"]);
    let line = "--exec --allow-empty --name slow -- sleep 1";
    let escape = '\u{1b}';
    let bar = |before: &str, flag: &str| {
        let zput = command_path("zput");
        let zput = zput.display();
        let (code, shown) =
            shell_on_terminal(&machine, &format!("{before} {zput} {flag} {line}"), &[]);
        assert_eq!(code, Some(0), "{shown}");
        shown.contains(escape)
    };
    assert!(bar("TERM=xterm", ""));
    assert!(!bar("TERM=dumb", ""));
    assert!(!bar("TERM=xterm", "--quiet"));
    assert!(!bar("TERM=xterm ZPUT_QUIET=1", ""));
}

/// With ZPUT_NO_STATE set no state and no temporary file stays on the machine.
#[test]
fn no_state_option_leaves_nothing_on_the_machine() {
    let served = StoreServer::private();
    let machine = served.member();
    let temporary = machine.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    machine.write("large", vec![7; 20_000_000]);
    let run = |name: &str, arguments: &[&str]| -> Ran {
        let mut command = machine.command(name);
        command.args(arguments).env("ZPUT_NO_STATE", "1").env("TMPDIR", &temporary);
        command.output().unwrap().into()
    };
    run("zput", &["large"]).ok();
    run("zget", &["-o", "copy", "large"]).ok();
    run("zblob stat", &["large"]).ok();
    assert!(machine.read("copy") == vec![7; 20_000_000]);
    assert!(!machine.path().join(".local/state").exists());
    assert_eq!(names(&temporary), [""; 0]);
    machine.run_line("zget -o again large").ok();
    assert!(machine.path().join(".local/state/zput/seen").exists());
}
