//! From the bytes of a file to typed fields, with the place of every problem.
//!
//! Three front ends (JSON, YAML, TOML) make one tree of located values, and one walker turns it into typed fields. All
//! problems of a file are collected; a file with any is refused whole. Bounds hold before anything is built: a mebibyte
//! of text, 32 levels. A key that occurs twice, or that nobody asked for, is a problem in every format.

mod field;
mod json;
mod source;
mod suggest;
mod toml;
mod tree;
mod walk;
mod yaml;

pub(crate) use field::Field;
pub use source::{Format, Source};
pub(crate) use tree::{Node, Value};
pub(crate) use walk::{Table, Walk};

/// The longest file that is read, in bytes.
pub(crate) const LONGEST_FILE: usize = 1 << 20;
/// How deep lists and tables may be nested.
const DEEPEST: usize = 32;

/// Reads a whole file into a tree; what is wrong with it goes to `walk`.
pub(crate) fn tree(source: &Source, walk: &Walk<'_>) -> Option<Node> {
    let text = source::text(source, walk)?;
    match source.format() {
        Format::Json => json::read(text, walk),
        Format::Yaml => yaml::read(text, walk),
        Format::Toml => toml::read(text, walk),
    }
}

#[cfg(test)]
mod tests;
