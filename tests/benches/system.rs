//! The whole system: a large file put and got over loopback, beside `age` with curl and nginx.
//!
//! ```text
//! cargo bench -p zput-tests --bench system -- [--size BYTES] [--runs N]
//! ```
//!
//! Both sides run in turn, A B A B …, in one go; the figures are medians and the ratios are medians
//! of each run's own ratio. zput is in `tls` mode and durable; nginx serves plain HTTP and does not
//! sync. Loopback with a pacing congestion control measures the pacing, so the system's default is
//! set to `cubic` for the time of the run where that is allowed, and the one in force is printed.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use wait4::Wait4;
use zput_tests::{
    Machine, ServerProcess, installed,
    measure::{Congestion, cpu_seconds, median, random_file},
};

const MIB: f64 = 1024.0 * 1024.0;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    let congestion = Congestion::cubic();
    println!(
        "{:.2} GiB, {} runs, congestion control {}",
        options.size as f64 / MIB / 1024.0,
        options.runs,
        congestion.in_force()
    );
    let home = Machine::new();
    let plain = home.file("big");
    random_file(&plain, options.size)?;

    let zput = Zput::start(&home)?;
    let other = match Other::start(&home, &plain) {
        Ok(other) => Some(other),
        Err(reason) => {
            println!("without the other side: {reason}");
            None
        }
    };
    let gets = race(options.runs, || zput.get(&home), other.as_ref().map(|o| || o.get(&home)))?;
    report("get", options.size, &gets);
    let puts = race(options.runs, || zput.put(&home), other.as_ref().map(|o| || o.put(&home)))?;
    report("put", options.size, &puts);
    println!("zserve peak memory {:.1} MiB", zput.server.peak_memory() as f64 / MIB);
    Ok(())
}

struct Options {
    size: u64,
    runs: usize,
}

impl Options {
    fn from_arguments() -> Result<Self, Failure> {
        let mut options = Self { size: 1 << 30, runs: 7 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a number"));
            match argument.as_str() {
                "--size" => options.size = value()?.parse()?,
                "--runs" => options.runs = value()?.parse()?,
                // cargo bench passes this to every target.
                "--bench" => {}
                other => return Err(format!("{other}? it takes --size BYTES and --runs N").into()),
            }
        }
        Ok(options)
    }
}

/// What one run cost, client and server added up where it says CPU.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
    client_peak: f64,
}

/// Runs one side, or both in turn.
fn race(
    runs: usize,
    ours: impl Fn() -> Result<Cost, Failure>,
    theirs: Option<impl Fn() -> Result<Cost, Failure>>,
) -> Result<(Vec<Cost>, Vec<Cost>), Failure> {
    let mut costs = (Vec::new(), Vec::new());
    // One round that does not count warms the page cache.
    for round in 0..=runs {
        let our = ours()?;
        let their = theirs.as_ref().map(|run| run()).transpose()?;
        if round > 0 {
            costs.0.push(our);
            costs.1.extend(their);
        }
    }
    Ok(costs)
}

fn report(what: &str, size: u64, (ours, theirs): &(Vec<Cost>, Vec<Cost>)) {
    let gb = size as f64 / 1e9;
    for (who, costs) in [("zput", ours), ("age + curl + nginx", theirs)] {
        if costs.is_empty() {
            continue;
        }
        println!(
            "{what} {who:<18} {:>6.2} GB/s  {:>6.3} s  {:>6.3} CPU-s per GB  client peak {:>6.1} MiB",
            gb / median(costs, |c| c.wall),
            median(costs, |c| c.wall),
            median(costs, |c| c.cpu) / gb,
            median(costs, |c| c.client_peak) / MIB,
        );
    }
    if !theirs.is_empty() {
        let ratios: Vec<(f64, f64)> =
            ours.iter().zip(theirs).map(|(o, t)| (t.wall / o.wall, o.cpu / t.cpu)).collect();
        println!(
            "{what} ratio: {:.2} times as fast, {:.2} of the CPU-seconds",
            median(&ratios, |r| r.0),
            median(&ratios, |r| r.1)
        );
    }
}

struct Zput {
    server: ServerProcess,
}

impl Zput {
    fn start(home: &Machine) -> Result<Self, Failure> {
        let server = ServerProcess::start(&home.path().join("store"), &[]);
        server.admit(home);
        let zput = Self { server };
        let _stored = zput.put(home)?;
        Ok(zput)
    }

    fn measured(&self, home: &Machine, name: &str, args: &[&str]) -> Result<Cost, Failure> {
        let before = cpu_seconds(&[self.server.pid()])?;
        let mut command = home.command(name);
        command.args(args).stdout(Stdio::null());
        let mut cost = measure(command)?;
        cost.cpu += cpu_seconds(&[self.server.pid()])? - before;
        Ok(cost)
    }

    fn get(&self, home: &Machine) -> Result<Cost, Failure> {
        self.measured(home, "zget", &["-o", "/dev/null", "big"])
    }

    fn put(&self, home: &Machine) -> Result<Cost, Failure> {
        let cost = self.measured(home, "zput", &["big"])?;
        // Old versions would fill the disk; the store is not what is measured here.
        let history = self.server.store().join("history");
        for directory in fs::read_dir(history)? {
            for file in fs::read_dir(directory?.path())? {
                fs::remove_file(file?.path())?;
            }
        }
        Ok(cost)
    }
}

/// nginx with sendfile and WebDAV, `age` and curl.
struct Other {
    nginx: Child,
    url: String,
    identity: PathBuf,
    recipient: String,
    plain: PathBuf,
}

impl Other {
    fn start(home: &Machine, plain: &Path) -> Result<Self, Failure> {
        for program in ["age", "age-keygen", "curl", "bash"] {
            installed(program).ok_or(format!("{program} is not installed"))?;
        }
        let nginx = installed("nginx")
            .or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|p| p.is_file()))
            .ok_or("nginx is not installed")?;
        let root = home.path().join("nginx");
        fs::create_dir_all(root.join("files"))?;
        let identity = home.path().join("age.txt");
        let made = Command::new("age-keygen").arg("-o").arg(&identity).output()?;
        if !made.status.success() {
            return Err("age-keygen failed".into());
        }
        let recipient = fs::read_to_string(&identity)?
            .lines()
            .find_map(|l| l.strip_prefix("# public key: ").map(str::to_owned))
            .ok_or("age-keygen gave no public key")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let root_text = root.display();
        let conf = format!(
            "daemon off; worker_processes 2; pid {root_text}/pid; error_log {root_text}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;\n\
             client_body_temp_path {root_text}/body; proxy_temp_path {root_text}/proxy;\n\
             fastcgi_temp_path {root_text}/fastcgi; uwsgi_temp_path {root_text}/uwsgi; scgi_temp_path {root_text}/scgi;\n\
             server {{ listen 127.0.0.1:{port}; root {root_text}/files; dav_methods PUT; }} }}\n"
        );
        fs::write(root.join("conf"), conf)?;
        // Workers of an nginx started as root run as another user, who must be able to write here.
        open_to_all(home.path())?;
        open_to_all(&root)?;
        open_to_all(&root.join("files"))?;
        let nginx = Command::new(nginx).arg("-c").arg(root.join("conf")).spawn()?;
        let other = Self {
            nginx,
            url: format!("http://127.0.0.1:{port}/big.age"),
            identity,
            recipient,
            plain: plain.to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("nginx does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _stored = other.put(home)?;
        Ok(other)
    }

    fn pids(&self) -> Result<Vec<u32>, Failure> {
        let pid = self.nginx.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let mut pids = vec![pid];
        for child in children.split_whitespace() {
            pids.push(child.parse()?);
        }
        Ok(pids)
    }

    fn measured(&self, script: &str) -> Result<Cost, Failure> {
        let before = cpu_seconds(&self.pids()?)?;
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("set -o pipefail; {script}")])
            .env("URL", &self.url)
            .env("IDENTITY", &self.identity)
            .env("RECIPIENT", &self.recipient)
            .env("PLAIN", &self.plain);
        let mut cost = measure(command)?;
        cost.cpu += cpu_seconds(&self.pids()?)? - before;
        Ok(cost)
    }

    fn get(&self, _home: &Machine) -> Result<Cost, Failure> {
        self.measured(r#"curl -sf "$URL" | age -d -i "$IDENTITY" > /dev/null"#)
    }

    fn put(&self, _home: &Machine) -> Result<Cost, Failure> {
        self.measured(r#"age -r "$RECIPIENT" "$PLAIN" | curl -sf -T - "$URL""#)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        if let Some(pid) =
            i32::try_from(self.nginx.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _reaped_already = self.nginx.wait();
    }
}

fn open_to_all(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777))
}

/// Runs `command` to its end: wall time, and the CPU time and peak memory of it and its children.
fn measure(mut command: Command) -> Result<Cost, Failure> {
    let started = Instant::now();
    let used = command.spawn()?.wait4()?;
    let wall = started.elapsed().as_secs_f64();
    if !used.status.success() {
        return Err(format!("{command:?}: {}", used.status).into());
    }
    let cpu = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    Ok(Cost { wall, cpu, client_peak: used.rusage.maxrss as f64 })
}
