//! Programs that people really use, through the gateway to a TLS origin: curl, Python, Node.
//!
//! A client that is not installed is skipped, and the test says so on its output: `SKIPPED: …`.

mod curl;
mod libcurl;
mod node;
mod python;
mod setup;
