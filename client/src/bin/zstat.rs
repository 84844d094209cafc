//! `zstat`: see `zput_client::cmd::zstat`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zstat", zput_client::cmd::zstat::run)
}
