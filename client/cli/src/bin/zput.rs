//! `zput`: `zblob put`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zput");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run(zput_client::cmd::Program::Zput)
}
