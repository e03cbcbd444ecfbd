//! What has a gateway written down? Its event file, read from a mark on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

/// How long an event may take to reach the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the file is looked at.
const TICK: Duration = Duration::from_millis(10);
/// How much is read behind a mark, in bytes.
const MOST: u64 = 64 << 20;

/// The event file of a gateway.
#[derive(Debug)]
pub(crate) struct Journal(PathBuf);

/// A place in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

impl Journal {
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<Self> {
        File::open(&path).with_context(|| format!("the event file {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its end at this moment.
    ///
    /// # Errors
    /// When the file is gone.
    pub(crate) fn mark(&self) -> anyhow::Result<Mark> {
        Ok(Mark(std::fs::metadata(&self.0)?.len()))
    }

    /// The first event behind a mark that fits; waits a moment for it. What is no whole event is passed over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn find(
        &self,
        mark: Mark,
        fits: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Option<Value>> {
        let began = Instant::now();
        loop {
            let found = events(&self.behind(mark)?).find(|event| fits(event));
            if found.is_some() || began.elapsed() > PATIENCE {
                return Ok(found);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn behind(&self, mark: Mark) -> anyhow::Result<String> {
        let mut file = File::open(&self.0)?;
        // A file that has become shorter was rotated: all of the new one is behind the mark.
        let begin = if file.metadata()?.len() < mark.0 { 0 } else { mark.0 };
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn events(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[tokio::test]
    async fn only_what_stands_behind_the_mark_is_found() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{{\"reason\":\"a\"}}").unwrap();
        let journal = Journal::open(file.path().to_owned()).unwrap();
        let (before, mark) = (Mark(0), journal.mark().unwrap());
        write!(file, "{{\"reason\":\"b\"}}\n{{\"reas").unwrap();
        let find =
            |mark, reason: &'static str| journal.find(mark, move |event: &Value| event["reason"] == reason);
        assert!(find(before, "a").await.unwrap().is_some());
        assert!(find(mark, "b").await.unwrap().is_some());
        let text = journal.behind(mark).unwrap();
        assert!(events(&text).all(|event| event["reason"] == "b"), "{text}");
    }
}
