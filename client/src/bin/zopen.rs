//! `zopen`: see `zput_client::cmd::zopen`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zopen", zput_client::cmd::zopen::run)
}
