//! The `portcullis` command.

mod cli;
mod quickstart;

/// Many small allocations from many threads, few of them long-lived: what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
