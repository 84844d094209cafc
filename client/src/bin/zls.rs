//! `zls`: see `zput_client::cmd::zls`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zls", zput_client::cmd::zls::run)
}
