//! `zrestore`: see `zput_client::cmd::zrestore`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zrestore", zput_client::cmd::zrestore::run)
}
