//! The quickstart as a newcomer meets it: one command, and the lines that it prints, run as they are printed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A running quickstart, told to end when it is dropped.
struct Quickstart {
    child: Child,
    directory: tempfile::TempDir,
    commands: Vec<String>,
}

impl Quickstart {
    /// Starts one and reads what it prints up to the point where it only reports.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["quickstart", "--any-port"])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if line.starts_with("What happens") {
                break;
            }
            printed.push(line);
        }
        // What follows is read so that the pipe never fills, and not looked at.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, directory, commands: commands(&printed) }
    }

    /// The printed command that contains `piece`.
    fn command(&self, piece: &str) -> &str {
        let found = self.commands.iter().find(|command| command.contains(piece));
        found.unwrap_or_else(|| panic!("no command with {piece:?} in {:#?}", self.commands))
    }

    fn run(&self, command: &str) -> Output {
        shell(command, self.directory.path()).output().unwrap()
    }

    fn says(&self, piece: &str) -> String {
        let output = self.run(self.command(piece));
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn origin_received(&self) -> Option<u64> {
        let events =
            std::fs::read_to_string(self.directory.path().join("portcullis-quickstart/events.jsonl"))
                .unwrap();
        let events = events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut ended = events.filter(|event| event["reason"] == "upload_limit_exceeded");
        ended.find_map(|event| event["upload_bytes"].as_u64())
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let interrupted = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        if interrupted.is_err() {
            let _gone = self.child.kill();
        }
        let _status = self.child.wait();
    }
}

fn shell(command: &str, directory: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(directory);
    shell
}

/// The indented lines, those that end in a backslash joined with the next.
fn commands(printed: &[String]) -> Vec<String> {
    let indented = printed.iter().filter_map(|line| line.strip_prefix("  ")).map(str::trim_start);
    let joined = indented.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(str::to_owned).collect()
}

/// Waits until `happened`, at most half a minute.
fn eventually<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = happened() {
            return found;
        }
        assert!(Instant::now() < until, "{what} has not happened");
        std::thread::yield_now();
    }
}

#[test]
fn every_printed_command_does_what_is_printed_above_it() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: no curl on this machine");
    }
    let quickstart = Quickstart::start();
    let hello = "Hello from the demo origin";
    assert!(quickstart.says("curl --proxy https://").contains(hello));
    assert!(quickstart.says("curl.conf https://origin.example").contains(hello));
    assert!(quickstart.says("http://elsewhere.example").contains("\"reason\":\"destination_not_listed\""));
    assert!(quickstart.says("proxy-status").contains("destination_not_listed"));
    let explained = quickstart.run(quickstart.command(" explain "));
    assert_eq!(explained.status.code(), Some(3));

    let upload = quickstart.run(quickstart.command("/upload"));
    assert!(!upload.status.success(), "an upload over the limit was taken for a whole one");
    assert_eq!(eventually("the end of the upload", || quickstart.origin_received()), 1 << 20);

    let mut download = shell(quickstart.command("/download"), quickstart.directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the download", || quickstart.says(" sessions ").contains("open").then_some(()));
    let receipt = quickstart.run(quickstart.command("/api/v1/revoke")).stdout;
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["applied"][0]["gateway"], "gw-quickstart", "{receipt}");
    assert_eq!(receipt["applied"][0]["sessions_cut"], 1, "{receipt}");
    assert_eq!(receipt["pending"], serde_json::json!([]), "{receipt}");
    assert!(!download.wait().unwrap().success(), "the download was not cut");
    let mut said = String::new();
    download.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(quickstart.says("http://elsewhere.example").contains("manifest_revoked"));
    let again = quickstart.run(quickstart.command(" revoke "));
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(String::from_utf8_lossy(&again.stdout).contains("gw-quickstart"));
}
