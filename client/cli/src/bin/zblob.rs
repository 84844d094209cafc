//! `zblob`: the client, one verb for each task. A link to it named `zput` or `zget` is that program.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zblob");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run(zput_client::cmd::Program::called())
}
