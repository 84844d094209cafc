//! `zget`: see `zput_client::cmd::get`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zget");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zget", zput_client::cmd::get::run)
}
