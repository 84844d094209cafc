//! `zput`: `zblob put`.

#[global_allocator]
static ALLOCATOR: zput_os::memory::Allocator = zput_os::memory::Allocator("zput");

fn main() -> std::process::ExitCode {
    zput_cli::cmd::run(zput_cli::cmd::Program::Zput)
}
