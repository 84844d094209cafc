//! The commands against a server, over TLS and over plaintext connections.

use std::{fs, thread, time::Duration};

use zput_proto::{
    digest::Digest,
    keys::Remote,
    message::{Condition, Kind, Scopes},
    mount::MountName,
    name::{BlobName, ObjectKey},
};
use zput_seal::{
    age::Recipient,
    blob::{
        footer::Provenance,
        metadata::Metadata,
        seal::{SealOptions, Sealer},
    },
};
use zput_testkit::{Machine, StoreServer, names};

/// A machine joins by an invite, then puts, lists, gets and removes on the server.
#[test]
fn zblob_key_join_then_zput_and_zget_work_on_a_server() {
    let served = StoreServer::private();
    let machine = Machine::new();
    machine.write("invite.txt", served.invite_text(Scopes::ALL) + "\n");
    let ran = machine.run_line("zblob key join --invite-file invite.txt --label laptop").ok();
    ran.says("as laptop: may put,get,list,delete").says("created a key file").says("back it up");
    machine.write("secret.bin", "the plans");
    assert_eq!(machine.run_line("zput --name plans/secret.bin secret.bin").ok().stderr, "");
    assert_eq!(machine.run_line("zblob ls").ok().text(), "plans/secret.bin\n");
    machine.run_line("zget -o copy plans/secret.bin").ok();
    assert_eq!(machine.read("copy"), b"the plans");
    machine.run_line("zblob rm plans/secret.bin").ok();
    assert_eq!(machine.run_line("zblob ls").ok().text(), "");
    machine.run_line("zblob key show").ok();
}

/// An invite works once, and a join that fails leaves no key file.
#[test]
fn zblob_key_join_accepts_an_invite_once_and_leaves_no_key_on_failure() {
    let served = StoreServer::private();
    let invite = served.invite_text(Scopes::ALL);
    let first = Machine::new();
    first.run_line_on(invite.as_bytes(), "zblob key join").ok();
    let second = Machine::new();
    second.run_line_on(invite.as_bytes(), "zblob key join").ended(6).says("denied");
    assert!(!second.key_file().exists());
    assert_eq!(names(second.key_file().parent().unwrap()), [""; 0]);
    second.run_line_on(b"zputinvite1rubbish", "zblob key join").ended(7);
    second.run_line_on(b"", "zblob key join").ended(7);
    second.run_line("zblob key join --invite-file missing").ended(1);
}

/// Nothing that is meant for a mount reaches the store at the server's root.
#[test]
fn missing_mount_is_not_found_and_touches_no_store() {
    let served = StoreServer::private();
    let machine = served.member();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    let key_file = String::from_utf8(fs::read(machine.key_file()).unwrap()).unwrap();
    let remote = format!("remote = \"{}", served.remote());
    let mounted = key_file.replace(&remote, &format!("{remote}/images/public"));
    machine.write("mounted.zkey", mounted);
    machine.write("large", vec![7; 3_000_000]);
    let lines = [
        "zput a",
        "zput large",
        "zget -o copy a",
        "zblob ls",
        "zblob stat a",
        "zblob stat --versions a",
        "zblob rm a",
        "zblob restore a 1",
    ];
    for line in lines {
        machine
            .run_line(&format!("{line} --key mounted.zkey"))
            .ended(4)
            .says("has no mount images/public");
    }
    assert_eq!(machine.run_line("zblob ls").ok().text(), "a\n");
    assert_eq!(served.staged(), 0);
    machine.run_line("zblob key show --key mounted.zkey").ok();
}

/// The account is created before the mount is selected.
#[test]
fn zblob_key_join_takes_an_invite_with_a_mount() {
    let served = StoreServer::private();
    let machine = Machine::new();
    let Remote::Tcp { host, port, .. } = served.remote() else { panic!("no port") };
    let mount = MountName::parse("images").unwrap();
    let invite = served.invite_text_to(Remote::Tcp { host, port, mount }, Scopes::ALL);
    machine.run_line_on(invite.as_bytes(), "zblob key join").ok();
    let key_file = String::from_utf8(fs::read(machine.key_file()).unwrap()).unwrap();
    assert!(key_file.contains(&format!("remote = \"{}/images\"", served.remote())), "{key_file}");
    machine.run_line("zblob ls").ended(4).says("has no mount images");
}

/// Joining another server keeps the key file unless --force is given.
#[test]
fn zblob_key_join_of_another_server_needs_force() {
    let (one, two) = (StoreServer::private(), StoreServer::private());
    let machine = one.member();
    let key_file = fs::read(machine.key_file()).unwrap();
    machine
        .run_line_on(two.invite_text(Scopes::ALL).as_bytes(), "zblob key join")
        .ended(2)
        .says("--force");
    assert_eq!(fs::read(machine.key_file()).unwrap(), key_file);
    machine.run_line_on(two.invite_text(Scopes::ALL).as_bytes(), "zblob key join --force").ok();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    assert_eq!(machine.run_line("zblob ls").ok().text(), "a\n");
}

/// A put-only key file can put, and cannot get, list, remove or restore.
#[test]
fn put_only_key_file_can_only_put() {
    let served = StoreServer::private();
    let laptop = served.member();
    laptop.run_line("zblob key export --put-only -o backup.zkey").ok();
    let host = Machine::new();
    host.write("backup.zkey", laptop.read("backup.zkey"));
    host.run_line_on(
        served.invite_text(Scopes::PUT).as_bytes(),
        "zblob key join --key backup.zkey",
    )
    .ok();
    let text = String::from_utf8(host.read("backup.zkey")).unwrap();
    assert!(!text.contains("AGE-SECRET-KEY"));
    host.run_line("zput --key backup.zkey --exec --name pg/main -- echo dump").ok();
    for line in ["zget pg/main", "zblob ls", "zblob stat pg/main"] {
        host.run_line(&format!("{line} --key backup.zkey")).ended(7).says("cannot open");
    }
    for line in ["zblob rm pg/main", "zblob restore pg/main 1", "zblob stat --versions pg/main"] {
        host.run_line(&format!("{line} --key backup.zkey")).ended(6).says("denied");
    }
    assert_eq!(laptop.run_line("zget -o - pg/main").ok().stdout, b"dump\n");
}

/// A get-only key file gets blobs of its pinned writer and none of other members.
#[test]
fn get_only_key_file_opens_only_blobs_of_pinned_writer() {
    let served = StoreServer::private();
    let laptop = served.member();
    laptop.write("app.img", "image");
    laptop.run_line("zput app.img").ok();
    laptop.run_line("zblob key export --get-only -o fleet.zkey").ok();
    laptop.run_line("zblob key export --full -o other.zkey").ok();
    let fleet = Machine::new();
    fleet.write("fleet.zkey", laptop.read("fleet.zkey"));
    fleet
        .run_line_on(served.invite_text(Scopes::GET).as_bytes(), "zblob key join --key fleet.zkey")
        .ok();
    assert_eq!(fleet.run_line("zget --key fleet.zkey -o - app.img").ok().stdout, b"image");
    fleet.write("forged", "x");
    fleet.run_line("zput --key fleet.zkey forged").ended(7).says("cannot put");
    fleet.run_line("zblob ls --key fleet.zkey").ended(6);
    // Another member of the vault is not the publisher.
    let other = Machine::new();
    other.write("k.zkey", laptop.read("other.zkey"));
    other
        .run_line_on(served.invite_text(Scopes::ALL).as_bytes(), "zblob key join --key k.zkey")
        .ok();
    other.write("app.img", "forged");
    other.run_line("zput --key k.zkey app.img").ok();
    fleet.run_line("zget --key fleet.zkey -o - app.img").ended(8).says("pinned");
    assert_eq!(laptop.run_line("zget -o - app.img").ok().stdout, b"forged");
}

/// A device without an account is denied by the server and leaves nothing behind.
#[test]
fn uninvited_device_is_denied() {
    let served = StoreServer::private();
    let laptop = served.member();
    laptop.run_line("zblob key export --full -o copy.zkey").ok();
    let stranger = Machine::new();
    stranger.write("k.zkey", laptop.read("copy.zkey"));
    stranger.write("a", vec![1; 3_000_000]);
    for line in ["zput a", "zget -o x a", "zblob ls", "zblob rm a"] {
        stranger
            .run_line(&format!("{line} --key k.zkey"))
            .ended(6)
            .says("denied by zput://127.0.0.1");
    }
    assert_eq!(stranger.names(), ["a", "k.zkey"]);
    assert_eq!(served.staged(), 0);
}

/// Commands to a stopped server fail with exit code 5 and advice.
#[test]
fn stopped_server_is_a_temporary_error() {
    let served = StoreServer::private();
    let machine = served.member();
    served.server.shutdown().unwrap();
    machine.write("a", "1");
    machine.run_line("zput a").ended(5).says("is the server running?");
    machine.run_line("zget -o b a").ended(5);
    assert_eq!(machine.names(), ["a"]);
}

/// A server whose key differs from the key file's is an integrity error.
#[test]
fn server_with_another_key_is_an_integrity_error() {
    let (one, two) = (StoreServer::private(), StoreServer::private());
    let machine = one.member();
    let text = fs::read_to_string(machine.key_file()).unwrap();
    let moved = text.replace(&one.remote().to_string(), &two.remote().to_string());
    assert_ne!(moved, text);
    fs::write(machine.key_file(), moved).unwrap();
    machine.run_line("zblob ls").ended(8);
}

/// The commands speak only the mode of the key file, whatever the server allows.
#[test]
fn client_speaks_only_the_mode_of_its_key_file() {
    // A server that allows plaintext does not make a client use it.
    let served = StoreServer::start(StoreServer::EVERYTHING, |_| {});
    let machine = served.member();
    machine.write("a", "1");
    machine.run_line("zput --plaintext a").ended(2).says("plaintext connections");
    machine.run_line("zget --plaintext -o b a").ended(2);
    let text = fs::read_to_string(machine.key_file()).unwrap();
    fs::write(machine.key_file(), text.replace("\"tls\"", "\"plaintext\"")).unwrap();
    machine.run_line("zput a").ok();
    assert_eq!(machine.run_line("zget -o - a").ok().stdout, b"1");
    machine.run_line("zput --plaintext --name b a").ok();
    assert_eq!(machine.run_line("zget --plaintext -o - b").ok().stdout, b"1");
    // And a server that does not allow it is refused.
    let strict = StoreServer::private();
    let other = strict.member();
    let text = fs::read_to_string(other.key_file()).unwrap();
    fs::write(other.key_file(), text.replace("\"tls\"", "\"plaintext\"")).unwrap();
    other.run_line("zblob ls").ended(1);
}

/// Of several blobs one fails, and the others are put and got on the same connection.
#[test]
fn one_failed_blob_of_several_leaves_the_others_intact() {
    let served = StoreServer::private();
    let machine = served.member();
    machine.write("a", "1");
    machine.write("b", "2");
    machine.write("c", vec![3; 20_000_000]);
    machine.run_line("zput a").ok();
    let ran = machine.run_line("zput --if-absent a b c").ended(3);
    assert!(ran.stderr.ends_with("zput: 1 of 3 failed\n"), "{}", ran.stderr);
    fs::create_dir(machine.file("out")).unwrap();
    machine.run_line("zget -o out/ a no b nor c").ended(3);
    assert_eq!(names(&machine.file("out")), ["a", "b", "c"]);
    assert!(fs::read(machine.file("out/c")).unwrap() == vec![3; 20_000_000]);
    assert_eq!(served.staged(), 0);
}

/// A listing of 150 names, which takes several pages, is complete and sorted.
#[test]
fn zblob_ls_lists_the_names_of_every_page() {
    let served = StoreServer::private();
    let machine = served.member();
    let mut expected = String::new();
    let mut line = "zput --prefix p".to_owned();
    for i in 0..150 {
        machine.write(&format!("f{i:03}"), "x");
        line += &format!(" f{i:03}");
        expected += &format!("p/f{i:03}\n");
    }
    machine.run_line(&line).ok();
    assert_eq!(machine.run_line("zblob ls").ok().text(), expected);
}

/// A listing counts the blobs of another vault on the server without naming them.
#[test]
fn zblob_ls_does_not_list_blobs_of_another_vault() {
    let served = StoreServer::private();
    let (one, two) = (served.member(), served.member());
    one.write("a", "1");
    one.run_line("zput a").ok();
    two.write("b", "2");
    two.run_line("zput b").ok();
    assert_eq!(one.run_line("zblob ls").ok().says("1 more are sealed to other keys").text(), "a\n");
    two.run_line("zget -o x a").ended(4);
}

/// Anyone who knows a recipient can seal a header with any name in it; only the vault's name key
/// maps that name to its object key.
#[test]
fn zblob_ls_refuses_forged_name_under_another_object_key() {
    let served = StoreServer::private();
    let machine = served.member();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    let public = machine.run_line("zblob key public --json").ok().json("recipients");
    let recipient: Recipient = public[0].as_str().unwrap().parse().unwrap();
    let key = ObjectKey::new("elsewhere").unwrap();
    let mut options = SealOptions::new(1, Metadata::new(BlobName::parse("forged").unwrap()));
    options.object_key = Some(key.clone());
    let mut sealer = Sealer::new(options, &[recipient], &mut rand::rng()).unwrap();
    let header = sealer.header().to_vec();
    let mut part = Vec::new();
    sealer.seal_part(b"x", &mut rand::rng(), &mut part).unwrap();
    let footer = sealer.finish(Provenance::Bare, &mut rand::rng()).unwrap().bytes;
    let mut upload = served.store.begin(&key, Kind::Sealed, Condition::Any, None).unwrap();
    for slice in [header, part, footer] {
        upload.start_slice(slice.len() as u32, Digest::of(&slice)).unwrap();
        upload.write(&slice).unwrap();
        upload.end_slice().unwrap();
    }
    upload.commit().unwrap();
    let ran = machine.run_line("zblob ls").ended(8).says("object elsewhere: ");
    assert_eq!(ran.text(), "a\n");
}

/// Lengths around every boundary, with the parts and chunks of both suites.
#[test]
fn blobs_of_every_length_round_trip_through_a_server() {
    let served = StoreServer::private();
    let machine = served.member();
    let part = 16 * 1024 * 1024;
    for length in [0, 1, 16_383, 16_384, 16_385, part - 1, part, part + 1, 2 * part, 3 * part + 5] {
        let bytes: Vec<u8> = (0..length as u32).map(|i| (i ^ i >> 7 ^ i >> 17) as u8).collect();
        machine.write("a", &bytes);
        machine.run_line("zput a").ok();
        assert_eq!(machine.run_line("zblob stat --json a").ok().json("length"), length);
        assert_eq!(machine.run_line("zblob ls --json").ok().json("length"), length);
        machine.run_line("zget --force -o b a").ok();
        assert!(machine.read("b") == bytes, "{length}");
        let ran = machine.run_line_on(&bytes, "zput --allow-empty --name a -").ok();
        drop(ran);
        assert!(machine.run_line("zget -o - a").ok().stdout == bytes, "{length} from a pipe");
    }
}

/// 96 MiB, whatever the length.
#[test]
fn zput_and_zget_memory_stays_below_96_mib() {
    const LIMIT_KIB: u64 = 96 * 1024;
    let served = StoreServer::private();
    let machine = served.member();
    machine.write("big", vec![5; 400_000_000]);
    for line in [&["zput", "big"][..], &["zget", "-o", "copy", "big"]] {
        let mut child = machine.command(line[0]).args(&line[1..]).spawn().unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
            let line = status.unwrap_or_default();
            let now = line.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let now = now.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
            peak = peak.max(now.unwrap_or(0));
            thread::sleep(Duration::from_millis(1));
        }
        assert!(child.wait().unwrap().success());
        assert!(peak > 16 * 1024, "{line:?} was not measured: {peak} KiB");
        assert!(peak < LIMIT_KIB, "{line:?}: {peak} KiB");
    }
}
