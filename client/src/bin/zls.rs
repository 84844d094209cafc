//! `zls`: see `zput_client::cmd::zls`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zls");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zls", zput_client::cmd::zls::run)
}
