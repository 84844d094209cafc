//! `zblob`: the client, one verb for each task. A link to it named `zput` or `zget` is that
//! program.

#[global_allocator]
static ALLOCATOR: zput_os::memory::Allocator = zput_os::memory::Allocator("zblob");

fn main() -> std::process::ExitCode {
    zput_cli::cmd::run(zput_cli::cmd::Program::called())
}
