//! The part around the machine: it starts it, and keeps the journal.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use zput_tests::seed;

use super::log;

/// Changes that the guest makes: each is several flushes.
const CALLS: u32 = 80;
/// Of the guest's disk.
const DISK_BYTES: u64 = 96 << 20;

/// Runs the guest. In `dir` are then `before.img`, the disk before it started; `writes.log`, what
/// it was told; and `journal`: a line for each word of the guest, behind the number of entries that
/// the log had when it was said.
pub(crate) fn record(kernel: &Path, initramfs: &Path, dir: &Path) {
    let seed = seed();
    let [before, disk, log] = ["before.img", "disk.img", "writes.log"].map(|name| dir.join(name));
    fs::File::create(&before).unwrap().set_len(DISK_BYTES).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&before).status().unwrap();
    assert!(made.success());
    fs::copy(&before, &disk).unwrap();
    fs::File::create(&log).unwrap().set_len(0).unwrap();
    let node = |driver: &str| format!("driver={driver},");
    let file = |name: &str, path: &Path| {
        format!("{}node-name={name},filename={}", node("file"), path.display())
    };
    let mut machine = Command::new("qemu-system-x86_64");
    machine
        .args(["-accel", "tcg", "-cpu", "max", "-m", "768", "-nodefaults", "-no-reboot"])
        .args(["-display", "none"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1"])
        .args(["-serial", &format!("file:{}", dir.join("console").display())])
        .args(["-serial", "stdio"])
        .args(["-blockdev", &file("data", &disk), "-blockdev", &file("log", &log)])
        .args([
            "-blockdev",
            "driver=blklogwrites,node-name=disk,file=data,log=log,log-sector-size=512,\
             log-super-update-interval=1",
        ])
        .args(["-device", "virtio-blk-pci,drive=disk,write-cache=on"]);
    let mut machine = machine.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = machine.stdin.take().unwrap();
    let from = BufReader::new(machine.stdout.take().unwrap());
    let mut journal = String::new();
    let mut is_over = false;
    for line in from.lines() {
        let line = line.unwrap();
        let line = line.trim();
        // The answer was given when the log was at most as long as this.
        journal.push_str(&format!("{} {line}\n", log::entries(&log)));
        match line.split(' ').next() {
            Some("ready") => writeln!(to, "{seed} {CALLS}").unwrap(),
            Some("ask") => {}
            Some("done") if line == "done" => {
                is_over = true;
                break;
            }
            Some("open" | "done") => writeln!(to, "go").unwrap(),
            _ => panic!("the guest says {line:?}"),
        }
    }
    // As a power cut would.
    machine.kill().unwrap();
    machine.wait().unwrap();
    let console = fs::read_to_string(dir.join("console")).unwrap_or_default();
    assert!(is_over, "the guest did not come to its end:\n{console}");
    fs::write(dir.join("journal"), journal).unwrap();
}
