//! `zstat`: see `zput_client::cmd::stat`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zstat");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zstat", zput_client::cmd::stat::run)
}
