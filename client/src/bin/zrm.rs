//! `zrm`: see `zput_client::cmd::zrm`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zrm", zput_client::cmd::zrm::run)
}
