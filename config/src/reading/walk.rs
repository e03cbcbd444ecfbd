//! The reading of one file: its problems, and its tables.
//!
//! A table remembers which keys were asked for: the others are unknown, and `finish` says so. Nothing here decides what
//! a value means.

use std::cell::RefCell;

use super::field::{Field, capped};
use super::source::Source;
use super::suggest::closest;
use super::tree::{Entry, Node, Place, Value};
use crate::problems::{Problem, Problems};

/// How much of a line is kept to be shown, in bytes.
const LONGEST_EXCERPT: usize = 512;

/// The reading of one file: collects its problems.
pub(crate) struct Walk<'s> {
    source: &'s Source,
    problems: RefCell<Problems>,
}

impl<'s> Walk<'s> {
    pub(crate) fn new(source: &'s Source) -> Self {
        Self { source, problems: RefCell::default() }
    }

    pub(crate) fn problem(&self, at: Place, path: &str, message: &str, help: Option<String>) {
        if self.is_full() {
            return;
        }
        let lines = || self.source.bytes().split(|byte| *byte == b'\n');
        let line = at.line.checked_sub(1).and_then(|above| lines().nth(above));
        let shown = line.map(|line| line.get(..LONGEST_EXCERPT).unwrap_or(line));
        self.problems.borrow_mut().push(Problem {
            file: self.source.name().to_owned(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message: message.to_owned(),
            help,
            excerpt: shown.map(|line| String::from_utf8_lossy(line).trim_end().to_owned()),
        });
    }

    /// Whether nobody would read another problem: the work of finding words for it can be saved.
    pub(super) fn is_full(&self) -> bool {
        self.problems.borrow().is_full()
    }

    /// Notes that the file as a whole is wrong, and is `None` for the caller to return.
    pub(crate) fn refuse_file<T>(&self, message: &str) -> Option<T> {
        self.problem(Place::default(), "", message, None);
        None
    }

    pub(super) fn duplicate(&self, at: Place, key: &str) {
        self.problem(at, "", &format!("`{}` is there twice", capped(key)), None);
    }

    /// `value`, if nothing at all was wrong with the file.
    ///
    /// # Errors
    /// Every problem that was noted.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        self.problems.into_inner().or_else_ok(value)
    }
}

/// A table whose keys are fixed.
pub(crate) struct Table<'n> {
    field: Field<'n>,
    entries: &'n [Entry],
    fallback: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Table<'n> {
    pub(super) fn new(field: Field<'n>, entries: &'n [Entry]) -> Self {
        Self { field, entries, fallback: &[], known: Vec::new() }
    }

    /// The same table, where keys that are absent are taken from another one.
    pub(crate) fn or_from(self, fallback: &'n Node) -> Self {
        match &fallback.value {
            Value::Table(entries) => Self { fallback: entries, ..self },
            _ => self,
        }
    }

    /// Where a key stands, or a key below it by its dotted path; nowhere, when it is only among the defaults.
    pub(crate) fn place_of(&self, path: &str) -> Option<Place> {
        let mut entries = self.entries;
        let mut place = None;
        for key in path.split('.') {
            let entry = entries.iter().find(|entry| entry.key == key)?;
            place = Some(entry.at);
            entries = match &entry.node.value {
                Value::Table(below) => below,
                _ => &[],
            };
        }
        place
    }

    /// The value of a key, if the key is there.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<Field<'n>> {
        self.known.push(key);
        let mut all = self.entries.iter().chain(self.fallback);
        let entry = all.find(|entry| entry.key == key)?;
        Some(self.field.below(key, &entry.node))
    }

    /// What is read from a key: `Some(None)` when it is absent, `None` when it is there and wrong.
    #[allow(clippy::option_option, reason = "absent, wrong and right are three things")]
    pub(crate) fn maybe<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Field<'n>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.optional(key) {
            None => Some(None),
            Some(field) => read(field).map(Some),
        }
    }

    /// The value of a key; its absence is a problem.
    pub(crate) fn required(&mut self, key: &'static str) -> Option<Field<'n>> {
        let found = self.optional(key);
        if found.is_none() {
            self.refuse_below::<()>(key, "the field is missing", None);
        }
        found
    }

    pub(crate) fn refuse<T>(&self, message: &str, help: Option<&str>) -> Option<T> {
        self.field.refuse(message, help)
    }

    /// Notes that something is wrong with a key, where it stands; where the table stands, if the key is not there.
    pub(crate) fn refuse_below<T>(&self, key: &str, message: &str, help: Option<&str>) -> Option<T> {
        self.field.refuse_below(key, self.place_of(key), message, help)
    }

    /// Notes every key that was never asked for.
    pub(crate) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            if self.field.is_over() {
                return;
            }
            let help = match closest(&entry.key, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the fields here are {}", self.known.join(", ")),
            };
            self.field.refuse_key(entry, "there is no such field", help);
        }
    }
}
