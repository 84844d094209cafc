//! `zseal`: see `zput_client::cmd::seal`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zseal");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zseal", zput_client::cmd::seal::run)
}
