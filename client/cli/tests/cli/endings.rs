//! Connections that end, or seem to: a put reports it at once, and survives a slow source.

use std::{
    fs,
    io::{ErrorKind, Read},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use zput_server::mounts::Policy;
use zput_testkit::{Machine, PATIENCE, Ran, StoreServer, command_path, names};

/// Runs a command that has to end by itself.
#[track_caller]
fn run_bounded(machine: &Machine, line: &str) -> Ran {
    let mut words = line.split_whitespace();
    let mut command = machine.command(words.next().unwrap());
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{line} does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap().into()
}

/// Sets another address in the machine's key file, with the same key.
fn redirect(machine: &Machine, from: &StoreServer, to: &str) {
    let text = fs::read_to_string(machine.key_file()).unwrap();
    let moved = text.replace(&from.remote().to_string(), to);
    assert_ne!(moved, text);
    fs::write(machine.key_file(), moved).unwrap();
}

/// A member's machine with a small and a large file to put.
fn member_with_files(served: &StoreServer) -> Machine {
    let machine = served.member();
    machine.write("small", "1");
    machine.write("large", vec![7; 40_000_000]);
    machine
}

/// A put to a server with another key ends with an integrity error.
#[test]
fn zput_to_a_server_with_another_key_ends() {
    let (one, two) = (StoreServer::private(), StoreServer::private());
    let machine = member_with_files(&one);
    redirect(&machine, &one, &two.remote().to_string());
    for file in ["small", "large"] {
        run_bounded(&machine, &format!("zput {file}")).ended(8);
    }
}

/// A put in a mode that the server refuses ends with exit code 1.
#[test]
fn zput_in_a_refused_mode_ends() {
    let served = StoreServer::private();
    let machine = member_with_files(&served);
    let text = fs::read_to_string(machine.key_file()).unwrap();
    fs::write(machine.key_file(), text.replace("\"tls\"", "\"plaintext\"")).unwrap();
    for file in ["small", "large"] {
        run_bounded(&machine, &format!("zput {file}")).ended(1);
    }
}

/// A put to a server at its connection limit ends with exit code 5 and advice.
#[test]
fn zput_to_a_server_at_its_connection_limit_ends() {
    let served = StoreServer::start(Policy::PRIVATE, |options| options.limits.max_connections = 1);
    let machine = member_with_files(&served);
    for file in ["small", "large"] {
        // The first connection is silent and holds the only slot; later ones are refused with a
        // reason.
        let _held = loop {
            let mut held = TcpStream::connect(served.address()).unwrap();
            held.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            match held.read(&mut [0; 64]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break held,
                _ => thread::sleep(Duration::from_millis(50)),
            }
        };
        run_bounded(&machine, &format!("zput {file}")).ended(5).says(
            "is busy: the server has too many connections (try again later; --retries 20 tries for minutes)",
        );
    }
}

/// A put to a server that closes before the handshake is over ends with exit code 5.
#[test]
fn zput_to_a_server_that_closes_before_the_echo_ends() {
    let served = StoreServer::private();
    let machine = member_with_files(&served);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            // One server resets with unread bytes; one reads the client's requests and closes in
            // order.
            if i % 2 == 1 {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
            }
        }
    });
    redirect(&machine, &served, &format!("zput://{address}"));
    for file in ["small", "small", "large", "large"] {
        run_bounded(&machine, &format!("zput {file}")).ended(5);
    }
}

/// A put from a command that pauses longer than the server's idle limit succeeds.
#[test]
fn zput_of_source_slower_than_the_idle_limit_succeeds() {
    let served = StoreServer::start(StoreServer::EVERYTHING, |options| {
        options.limits.idle_timeout = Duration::from_secs(2)
    });
    let slow = "head -c 16777216 /dev/zero; sleep 6; echo end";
    let machine = served.member();
    let exec = |more: &[&str]| {
        let line = [more, &["--exec", "--name", "slow", "--", "sh", "-c", slow]].concat();
        machine.run("zput", line).ok();
    };
    exec(&[]);
    assert_eq!(machine.run_line("zblob stat --json slow").ok().json("length"), 16_777_220);
    let text = fs::read_to_string(machine.key_file()).unwrap();
    fs::write(machine.key_file(), text.replace("\"tls\"", "\"plaintext\"")).unwrap();
    exec(&["--plaintext"]);
    assert_eq!(machine.run_line("zget --plaintext -o - slow").ok().stdout.len(), 16_777_220);
    assert_eq!(served.staged(), 0);
}

/// README, limits: a server does not wait beyond its idle limit for the reader of `zget -o -`.
#[test]
fn zget_reader_stalled_beyond_the_idle_limit_is_cut_off() {
    const LENGTH: usize = 160 << 20;
    let served = StoreServer::start(Policy::PRIVATE, |options| {
        options.limits.idle_timeout = Duration::from_secs(2)
    });
    let machine = served.member();
    let zeros = format!("head -c {LENGTH} /dev/zero");
    machine.run("zput", ["--exec", "--name", "zeros", "--", "sh", "-c", &zeros]).ok();
    let get = |stall| {
        let mut child = machine
            .command("zget")
            .args(["-o", "-", "zeros"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        thread::sleep(stall);
        let read = 1 + std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
        drop(stdout);
        (usize::try_from(read).unwrap(), Ran::from(child.wait_with_output().unwrap()))
    };
    let (read, ran) = get(Duration::from_millis(100));
    assert_eq!((read, ran.ok().stderr), (LENGTH, String::new()));
    let (read, ran) = get(Duration::from_secs(7));
    assert!(read < LENGTH, "{read}");
    ran.ended(5).says("the connection was cut");
}

/// A put that cannot write its rollback record succeeds, warns and tells the version.
#[test]
fn zput_without_rollback_record_warns_that_it_was_stored() {
    let served = StoreServer::private();
    let machine = served.member();
    machine.write("a", "1");
    machine.run_line("zput a").ok();
    let seen = machine.path().join(".local/state/zput/seen");
    let lock = seen.join(&names(&seen)[0]).join("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    machine.write("a", "22");
    let ran = machine
        .run_line("zput --json a")
        .ok()
        .says("will not detect a rollback")
        .says("rollback record");
    fs::remove_dir(&lock).unwrap();
    let stat = machine.run_line("zblob stat --json a").ok();
    assert_eq!(stat.json("length"), 2);
    let version = stat.json("version").as_str().unwrap().to_owned();
    assert_eq!(ran.json("version"), version);
    ran.says(&format!("a rollback to a version before {version}: "));
}

/// The mode of a got file is the sealed one, limited by the reader's umask.
#[test]
fn zget_limits_the_sealed_mode_by_the_umask() {
    let machine = Machine::new();
    machine.write("a", "1");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(machine.file("a"), everybody).unwrap();
    machine.run_line("zput a").ok();
    let zget = machine.command("zget");
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 027; exec \"$0\" -o b a"]).arg(command_path("zget"));
    shell.current_dir(machine.file(""));
    for (name, value) in zget.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    assert!(shell.status().unwrap().success());
    assert_eq!(fs::metadata(machine.file("b")).unwrap().mode() & 0o7777, 0o750);
}
