//! What does a comparison leave behind? The files that the table and the pictures of the documentation are made from.
//!
//! The figures themselves are not looked at: they depend on the machine.

use std::path::Path;
use std::process::Command;

use lab::gateway;

const PAGE: &str = "# Figures\n\n<!-- figures: begin -->\n<!-- figures: end -->\n\nwords\n";

/// Compares gateway and bare relay as briefly as it goes, and returns what is said.
fn compare(dir: &Path, what: &[&str]) -> String {
    let output = Command::new(gateway::load_tester())
        .args(["compare", "--brief", "--out", "figures", "--page", "page.md", "--limit", "120"])
        .arg("--gateway-binary")
        .arg(gateway::binary())
        .args(what)
        .current_dir(dir)
        .output()
        .expect("loadtest runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_comparison_leaves_figures_a_picture_and_a_page() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("page.md"), PAGE).expect("a page");
    compare(dir.path(), &["--no-peers", "--only", "connect"]);
    let said = compare(dir.path(), &["--no-peers", "--only", "transfer"]);

    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).expect(file);
    let kept: serde_json::Value = serde_json::from_str(&read("figures/connect.json")).expect("JSON");
    let names: Vec<_> =
        kept["subjects"].as_array().expect("subjects").iter().map(|subject| &subject["name"]).collect();
    assert_eq!(names, ["portcullis", "bare relay"]);
    assert!(
        read("figures/transfer.svg").contains("<desc id=\"d\">upload of a GiB, processor time: portcullis ")
    );

    // The page has both scenarios, though they were measured one after the other; what stands around them stays.
    let page = read("page.md");
    for row in
        ["| full handshake and CONNECT, processor time, ms | **", "| upload of a GiB, processor time, s | **"]
    {
        assert!(page.contains(row) && said.contains(row), "{row} is not in {page}");
    }
    assert!(page.contains("](figures/connect.svg)"), "{page}");
    assert!(page.starts_with("# Figures\n") && page.ends_with("words\n"), "{page}");

    // What is kept is enough to make the page again.
    std::fs::write(dir.path().join("page.md"), PAGE).expect("a page");
    compare(dir.path(), &["--redraw"]);
    assert_eq!(read("page.md"), page);
}

#[test]
fn a_peer_of_a_file_that_refuses_everything_is_left_out_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("page.md"), PAGE).expect("a page");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        // Whoever comes is turned away.
        listener.incoming().for_each(drop);
    });
    let peers = format!(
        "[[peer]]\nname = \"mute\"\nprotection = \"plain\"\nasked = \"addresses\"\naddress = \"{address}\"\n"
    );
    std::fs::write(dir.path().join("peers.toml"), peers).expect("a file");
    // Squid is named so that not everyone is; whether it is here does not matter.
    let said = compare(dir.path(), &["--only", "connect", "--peer-file", "peers.toml", "--peers", "squid"]);
    assert!(said.contains("mute: "), "{said}");
    assert!(said.contains("(In brackets: mute has no TLS on the side of devices."), "{said}");
}
