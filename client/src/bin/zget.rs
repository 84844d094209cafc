//! `zget`: see `zput_client::cmd::zget`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zget", zput_client::cmd::zget::run)
}
