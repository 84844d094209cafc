//! `zkey`: see `zput_client::cmd::key`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zkey");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zkey", zput_client::cmd::key::run)
}
