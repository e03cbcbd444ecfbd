//! A file as it was found: its name, its bytes, and which language they are in.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::LONGEST_FILE;
use super::tree::Place;
use super::walk::Walk;

/// A file to read. Nothing is checked yet.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    bytes: Vec<u8>,
    format: Format,
}

/// The language of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259, strictly.
    Json,
    /// YAML 1.2, without anchors, aliases and tags.
    Yaml,
    /// TOML 1.0.
    Toml,
}

impl Source {
    /// Text that is at hand. `name` is how problems call it; its extension says the format, and if it does not, text
    /// that begins with `{` is JSON and other text YAML.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (name, bytes) = (name.into(), bytes.into());
        let format = Format::of_name(&name).unwrap_or_else(|| Format::of_bytes(&bytes));
        Self { name, bytes, format }
    }

    /// The same text, read as `format` whatever it is called.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Reads a file, or as much of it as tells that it is too long.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Self::new(path.to_string_lossy(), bytes))
    }

    /// How problems call the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes, unchecked.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its language.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The directory of the file, which relative paths in it start from.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        Path::new(&self.name).parent().unwrap_or(Path::new("")).to_path_buf()
    }
}

impl Format {
    fn of_name(name: &str) -> Option<Self> {
        match Path::new(name).extension()?.to_str()? {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        match bytes.trim_ascii_start() {
            [b'{', ..] => Self::Json,
            _ => Self::Yaml,
        }
    }
}

/// The text of a file that is neither too long nor in another encoding.
pub(super) fn text<'s>(source: &'s Source, walk: &Walk<'_>) -> Option<&'s str> {
    let whole = Place::default();
    if source.bytes.len() > LONGEST_FILE {
        walk.problem(whole, "", "the file is longer than 1 MiB", None);
        return None;
    }
    if source.bytes.starts_with(b"\xef\xbb\xbf") {
        walk.problem(
            Place::START,
            "",
            "the file begins with a byte order mark",
            Some("save it as plain UTF-8".into()),
        );
        return None;
    }
    match std::str::from_utf8(&source.bytes) {
        Ok(text) => Some(text),
        Err(_) => {
            walk.problem(whole, "", "the file is not UTF-8 text", None);
            None
        }
    }
}
