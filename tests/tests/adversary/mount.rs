//! A client that means one of a server's mounts, and a server that answers from another.

use zput_proto::{
    keys::Remote,
    message::{ErrorCode, RemoteError, Request, Response},
    mount::MountName,
};
use zput_seal::keys::ModePolicy;

use crate::victim::{FILE, NAME, Victim};

const PLAINTEXT: &[u8] = b"the quick brown fox jumps over the lazy dog";

/// A victim whose key file names a mount, and a server that has its blob.
fn victim(mode: ModePolicy) -> Victim {
    let victim = Victim::new(mode);
    let Remote::Tcp { host, port, .. } = victim.server.remote() else { panic!("no port") };
    let mount = MountName::parse("images/public").unwrap();
    let mut member = victim.member.clone();
    member.remote = Some(Remote::Tcp { host, port, mount });
    victim.install(&member);
    victim.serve(victim.honest(PLAINTEXT).seal());
    victim.home.write("file", PLAINTEXT);
    victim
}

const COMMANDS: [(&str, &[&str]); 6] = [
    ("zget", &["-o", "-", NAME]),
    ("zblob ls", &[]),
    ("zblob stat", &[NAME]),
    ("zblob stat", &["--versions", NAME]),
    ("zput", &["file"]),
    ("zblob rm", &[NAME]),
];

/// Every command names its mount in the first request, and only there.
#[test]
fn mount_request_comes_first_and_once_in_every_command() {
    for mode in [ModePolicy::Tls, ModePolicy::Plaintext] {
        let victim = victim(mode);
        for (command, args) in COMMANDS {
            drop(victim.server.asked());
            let ran = victim.run(command, args).ok();
            if command == "zget" {
                assert!(ran.stdout == PLAINTEXT);
            }
            let asked = victim.server.asked();
            let name = MountName::parse("images/public").unwrap();
            assert_eq!(asked[0], Request::Mount { name }, "{command}");
            let again = asked[1..].iter().any(|request| matches!(request, Request::Mount { .. }));
            assert!(asked.len() > 1 && !again, "{command}: {asked:?}");
        }
    }
}

/// It says no, and has the answers of its root mount ready all the same.
#[test]
fn mount_refusal_ends_command_without_any_data() {
    let victim = victim(ModePolicy::Tls);
    let answers = [
        (
            Response::Error(RemoteError {
                code: ErrorCode::NotFound as u8,
                text: "no".into(),
                number: 0,
            }),
            4,
        ),
        (
            Response::Error(RemoteError {
                code: ErrorCode::Busy as u8,
                text: "no".into(),
                number: 0,
            }),
            5,
        ),
        (Response::Pong, 8),
        (Response::Begun, 8),
    ];
    for (answer, code) in answers {
        let what = format!("{answer:?}");
        victim.server.lie(move |request, honest| match request {
            Request::Mount { .. } => answer.clone().into(),
            _ => honest,
        });
        for (command, args) in COMMANDS {
            let ran = victim.run(command, args).ended(code);
            assert!(ran.stdout.is_empty(), "{command}, {what}");
            assert!(code != 4 || ran.stderr.contains("has no mount images/public"), "{what}");
        }
        let ran = victim.run("zget", &[NAME]).ended(code);
        assert!(ran.stdout.is_empty() && !victim.home.path().join(FILE).exists());
    }
}
