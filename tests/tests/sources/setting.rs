//! Machines for these tests, and what feeds them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    thread,
};

use rustix::fs::{CWD, Mode, mkfifoat};
use zput_tests::{Machine, Ran, command_path, until};

/// A home whose first put is over.
pub(crate) fn settled() -> Machine {
    let home = Machine::new();
    home.write("first", b"first");
    let _stored = home.run("zput", ["first"]).ok();
    home
}

pub(crate) fn got(home: &Machine, name: &str) -> Vec<u8> {
    home.run("zget", ["-o", "-", name]).ok().stdout
}

/// What a shell makes of `script`, with the commands on its path.
pub(crate) fn shell(home: &Machine, script: &str) -> Ran {
    let directory = command_path("zput").parent().unwrap().to_owned();
    let mut command = home.program("bash");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", directory.display());
    command.args(["-c", script]).env("PATH", path).output().unwrap().into()
}

pub(crate) fn make_fifo(home: &Machine, name: &str) {
    mkfifoat(CWD, home.file(name), Mode::RWXU).unwrap();
}

/// Writes `bytes` into a named pipe, once there is a reader, and closes it.
pub(crate) fn feed(home: &Machine, name: &str, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let path = home.file(name);
    thread::spawn(move || {
        let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
        pipe.write_all(&bytes).unwrap();
    })
}

/// Waits until the file called `name` has text in it, and gives it.
pub(crate) fn written(home: &Machine, name: &str) -> String {
    until(name, || fs::read(home.file(name)).is_ok_and(|text| text.ends_with(b"\n")));
    String::from_utf8(home.read(name)).unwrap()
}

pub(crate) fn is_gone(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}
