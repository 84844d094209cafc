//! `zopen`: see `zput_client::cmd::zopen`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zopen");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zopen", zput_client::cmd::zopen::run)
}
