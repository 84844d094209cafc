//! `zkey`: see `zput_client::cmd::zkey`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zkey", zput_client::cmd::zkey::run)
}
