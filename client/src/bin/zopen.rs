//! `zopen`: see `zput_client::cmd::open`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zopen");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zopen", zput_client::cmd::open::run)
}
