//! `zrestore`: see `zput_client::cmd::restore`.

#[global_allocator]
static ALLOCATOR: zput_server::memory::Allocator = zput_server::memory::Allocator("zrestore");

fn main() -> std::process::ExitCode {
    zput_client::cmd::run("zrestore", zput_client::cmd::restore::run)
}
