//! `zrm`: see `zput_client::cmd::rm`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zrm");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zrm", zput_client::cmd::rm::run)
}
