//! `zput`: see `zput_client::cmd::zput`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zput", zput_client::cmd::zput::run)
}
