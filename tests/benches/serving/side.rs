//! Who serves: zserve with one of its engines, or nginx.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use zput_server::Engine;
use zput_tests::{ServerProcess, installed, measure::cpu_seconds};

use crate::{Failure, ground::Ground};

/// How long nginx may take to listen.
const NGINX_STARTS_WITHIN: Duration = Duration::from_secs(5);

/// A server over the files. It is stopped when dropped.
pub(crate) struct Side {
    /// What tables call it.
    pub(crate) name: String,
    /// Where it answers HTTP.
    pub(crate) http: SocketAddr,
    process: Process,
}

enum Process {
    Zserve(ServerProcess),
    Nginx(Nginx),
}

impl Side {
    /// zserve, with these arguments more.
    pub(crate) fn zserve(
        ground: &Ground,
        engine: Engine,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        let own = tempfile::tempdir_in(ground.path())?.keep();
        let config = own.join("zserve.toml");
        let files = ground.file("");
        let mount = format!("[[mount]]\nprefix = \"files\"\ndir = {files:?}\npublic = true\n");
        fs::write(&config, mount)?;
        let config = config.display().to_string();
        let common = [
            ["--config", &config],
            ["--http", "127.0.0.1:0"],
            ["--engine", engine.name()],
            ["--log", "error"],
        ];
        let server =
            ServerProcess::start(&own.join("store"), &[common.as_flattened(), arguments].concat());
        Ok(Self {
            name: format!("zserve {engine}"),
            http: server.http().parse()?,
            process: Process::Zserve(server),
        })
    }

    /// nginx, where it is installed. `more` is added to its `http` block.
    pub(crate) fn nginx(ground: &Ground, name: &str, more: &str) -> Result<Option<Self>, Failure> {
        match Nginx::start(ground, more)? {
            Some((nginx, http)) => {
                Ok(Some(Self { name: name.to_owned(), http, process: Process::Nginx(nginx) }))
            }
            None => {
                println!("without {name}: it is not installed\n");
                Ok(None)
            }
        }
    }

    /// One zserve for each of `engines`, and nginx last.
    pub(crate) fn all(ground: &Ground, engines: &[Engine]) -> Result<Vec<Self>, Failure> {
        let mut sides = Vec::new();
        for engine in engines {
            sides.push(Self::zserve(ground, *engine, &[])?);
        }
        sides.extend(Self::nginx(ground, "nginx", "")?);
        Ok(sides)
    }

    /// zserve itself.
    pub(crate) fn server(&self) -> Option<&ServerProcess> {
        if let Process::Zserve(server) = &self.process { Some(server) } else { None }
    }

    /// CPU seconds that it has used, with its children.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        Ok(cpu_seconds(&match &self.process {
            Process::Zserve(server) => vec![server.pid()],
            Process::Nginx(nginx) => nginx.pids()?,
        })?)
    }
}

/// A master and two workers.
struct Nginx {
    master: Child,
}

impl Nginx {
    fn start(ground: &Ground, more: &str) -> Result<Option<(Self, SocketAddr)>, Failure> {
        let usual = || Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.is_file());
        let Some(program) = installed("nginx").or_else(usual) else { return Ok(None) };
        let own = tempfile::tempdir_in(ground.path())?.keep();
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // Workers of a master that is root would be somebody who may not come here.
        let user = if geteuid().is_root() { "user root;" } else { "" };
        let (own_text, root) = (own.display(), ground.path().display());
        let conf = format!(
            "daemon off; {user} worker_processes 2; worker_rlimit_nofile 40000;\n\
             pid {own_text}/pid; error_log {own_text}/error.log;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ access_log off; sendfile on; open_file_cache max=1000;\n\
             keepalive_requests 100000000; keepalive_timeout 1h; {more}\n\
             client_body_temp_path {own_text}/body; proxy_temp_path {own_text}/proxy;\n\
             fastcgi_temp_path {own_text}/fastcgi; uwsgi_temp_path {own_text}/uwsgi;\n\
             scgi_temp_path {own_text}/scgi;\n\
             server {{ listen {address} backlog=4096; root {root}; }} }}\n"
        );
        fs::write(own.join("conf"), conf)?;
        let error_log = own.join("error.log");
        let master = Command::new(program)
            .arg("-c")
            .arg(own.join("conf"))
            .arg("-e")
            .arg(&error_log)
            .spawn()?;
        let mut nginx = Self { master };
        let deadline = Instant::now() + NGINX_STARTS_WITHIN;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline || nginx.master.try_wait()?.is_some() {
                let why = fs::read_to_string(error_log).unwrap_or_default();
                return Err(format!("nginx does not listen: {why}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Some((nginx, address)))
    }

    fn pids(&self) -> Result<Vec<u32>, Failure> {
        let pid = self.master.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let mut pids = vec![pid];
        for child in children.split_whitespace() {
            pids.push(child.parse()?);
        }
        Ok(pids)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.master.id()).ok().and_then(Pid::from_raw) {
            let _gone_already = kill_process(pid, Signal::TERM);
        }
        let _reaped_already = self.master.wait();
    }
}
