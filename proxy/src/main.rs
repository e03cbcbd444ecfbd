//! The `portcullis` command.

mod cli;
mod quickstart;

fn main() -> std::process::ExitCode {
    cli::main()
}
