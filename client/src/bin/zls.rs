//! `zls`: see `zput_client::cmd::ls`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zls");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zls", zput_client::cmd::ls::run)
}
