//! `zseal`: see `zput_client::cmd::zseal`.

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zseal", zput_client::cmd::zseal::run)
}
