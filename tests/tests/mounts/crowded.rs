//! Listings of many files.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    time::Instant,
};

use zput_tests::{Configured, WebClient, WebResponse};

use crate::published::Published;

/// A server of all mounts, and the seconds that it took to start where its store was there already.
fn start_timed(published: &Published) -> (Configured, f64) {
    let (code, log) = Configured::start(&published.config()).stop();
    assert_eq!(code, Some(0), "{log}");
    let started = Instant::now();
    let server = Configured::start(&published.config());
    (server, started.elapsed().as_secs_f64())
}

/// Gets the last of the `unsealed` files that a mount has besides the artifacts by its name, lists
/// all, and says what it cost.
fn list_all(published: &Published, server: &Configured, mount: &str, unsealed: usize) {
    let reader = published.reader(server, mount);
    let (kind, length) = if mount == "tree" { ("file", 0) } else { ("member", 1) };
    let target = format!("/{mount}/crowd/{kind}-{:07}", unsealed - 1);
    let started = Instant::now();
    let WebResponse { head, body } =
        WebClient::connect(server.http()).unwrap().get(&target).unwrap();
    let by_name = started.elapsed().as_secs_f64();
    assert_eq!((head.status, body.len()), (200, length), "{target}");
    let started = Instant::now();
    let listed = reader.run("zblob ls", [] as [&str; 0]).ok();
    println!(
        "{unsealed} in {mount}: the last one got in {:.1} ms, listed in {:.1} s; the server had {:.1} MiB at its peak",
        by_name * 1e3,
        started.elapsed().as_secs_f64(),
        server.vitals().peak_memory() as f64 / 1_048_576.0
    );
    assert_eq!(listed.text(), "deep/er/empty\nimages/app.img\nnotes\n");
    let more = format!("{unsealed} more are not sealed");
    assert!(listed.stderr.contains(&more), "{}", listed.stderr);
}

/// A directory of `count` files beside the published ones.
fn crowd(published: &Published, count: usize) {
    let crowd = published.file("crowd");
    fs::create_dir(&crowd).unwrap();
    for n in 0..count {
        File::create_new(crowd.join(format!("file-{n:07}"))).unwrap();
    }
}

/// The published archive, with `count` members behind its own.
fn crowded_archive(published: &Published, count: usize) {
    let file = BufWriter::new(File::create(published.at("new")).unwrap());
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all("release-1", published.at("tree")).unwrap();
    for n in 0..count {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o644);
        let name = format!("release-1/crowd/member-{n:07}");
        archive.append_data(&mut header, name, &b"x"[..]).unwrap();
    }
    archive.into_inner().unwrap().flush().unwrap();
    fs::rename(published.at("new"), published.at("pack.tar")).unwrap();
}

/// A listing of a tree and of an archive of 20,000 files is complete.
#[test]
fn zblob_ls_of_twenty_thousand_files_is_complete() {
    let published = Published::new();
    crowded_archive(&published, 20_000);
    crowd(&published, 20_000);
    let (server, _) = start_timed(&published);
    list_all(&published, &server, "tree", 20_000);
    list_all(&published, &server, "pack", 20_000);
}

/// By hand: `cargo test -p zput-tests --test mounts -- --ignored --nocapture million`
#[test]
#[ignore = "it makes a million files, and takes minutes"]
fn zblob_ls_of_directory_of_a_million_is_complete() {
    let published = Published::new();
    crowd(&published, 1_000_000);
    let (server, seconds) = start_timed(&published);
    println!("started in {seconds:.2} s");
    list_all(&published, &server, "tree", 1_000_000);
}

/// By hand: `cargo test -p zput-tests --test mounts -- --ignored --nocapture hundred_thousand`
#[test]
#[ignore = "it takes a minute"]
fn zblob_ls_of_archive_of_a_hundred_thousand_is_complete() {
    let published = Published::new();
    crowded_archive(&published, 100_000);
    let (server, seconds) = start_timed(&published);
    println!("started in {seconds:.2} s");
    list_all(&published, &server, "pack", 100_000);
}
