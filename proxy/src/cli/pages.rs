//! How does somebody learn the command line? Completion scripts and manual pages, made from the commands themselves.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::exit::{During as _, Exit, Outcome};
use super::{Cli, Failure, Printer};

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Write a page for every command into this directory instead of printing the first one.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn completions(arguments: &Completions, printer: &Printer) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "portcullis", &mut script);
    printer.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(crate) fn man(arguments: &Man, printer: &Printer) -> Outcome {
    let mut command = Cli::command();
    command.build();
    match &arguments.directory {
        None => printer.text(&String::from_utf8_lossy(&page(command)?))?,
        Some(directory) => {
            fs::create_dir_all(directory).during(directory.display())?;
            write_pages(command, "portcullis", directory, printer)?;
        }
    }
    Ok(Exit::Done)
}

fn write_pages(
    command: clap::Command,
    name: &str,
    directory: &std::path::Path,
    printer: &Printer,
) -> Result<(), Failure> {
    for below in command.get_subcommands() {
        write_pages(below.clone(), &format!("{name}-{}", below.get_name()), directory, printer)?;
    }
    let path = directory.join(format!("{name}.1"));
    fs::write(&path, page(command.display_name(name.to_owned()))?).during(path.display())?;
    printer.line(path.display())
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).during("rendering the manual page")?;
    Ok(page)
}
