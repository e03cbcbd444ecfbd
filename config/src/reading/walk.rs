//! Walks a tree and takes typed fields from it; every wrong one is noted with its path and place.
//!
//! A getter returns `None` for what is not right, after noting why. A table remembers which keys were asked for: the
//! others are unknown, and `finish` says so.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::source::Source;
use super::suggest::closest;
use super::tree::{Entry, Node, Place, Value};
use crate::problems::{Problem, Problems};
use crate::size::{Limit, MalformedSize};

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
        let line = at
            .line
            .checked_sub(1)
            .and_then(|above| self.source.bytes().split(|byte| *byte == b'\n').nth(above));
        self.problems.borrow_mut().push(Problem {
            file: self.source.name().to_owned(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message: message.to_owned(),
            help,
            excerpt: line.map(|line| String::from_utf8_lossy(line).trim_end().to_owned()),
        });
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

/// One value, and the path to it.
#[derive(Clone)]
pub(crate) struct Field<'n> {
    walk: &'n Walk<'n>,
    node: &'n Node,
    path: String,
}

impl<'n> Field<'n> {
    pub(crate) fn root(walk: &'n Walk<'n>, node: &'n Node) -> Self {
        Self { walk, node, path: String::new() }
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text(_))
    }

    /// Notes that the value is wrong, and is `None` for the caller to return.
    pub(crate) fn refuse<T>(&self, message: &str, help: Option<&str>) -> Option<T> {
        self.walk.problem(self.node.at, &self.path, message, help.map(str::to_owned));
        None
    }

    fn expected<T>(&self, wanted: &str) -> Option<T> {
        let help = match self.node.value {
            Value::Null => Some("leave the field out to have the default"),
            Value::Other(_) | Value::Whole(_) | Value::Bool(_) if wanted.contains("text") => {
                Some("put it in quotes")
            }
            _ => None,
        };
        let found = match &self.node.value {
            Value::Other(spelled) => format!("`{}`", capped(spelled)),
            value => value.kind().to_owned(),
        };
        self.refuse(&format!("expected {wanted}, found {found}"), help)
    }

    pub(crate) fn text(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.expected("text"),
        }
    }

    /// Text that is not empty and has no control characters.
    pub(crate) fn line(&self) -> Option<&'n str> {
        match self.text()? {
            "" => self.refuse("the text is empty", None),
            text if text.chars().any(char::is_control) => {
                self.refuse("the text has a control character", None)
            }
            text => Some(text),
        }
    }

    pub(crate) fn parsed<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.by(|text| text.parse::<T>())
    }

    pub(crate) fn by<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(why) => self.refuse(&why.to_string(), None),
        }
    }

    pub(crate) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let word = self.text()?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*choice);
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        let help = closest(word, choices.iter().map(|(name, _)| *name))
            .map(|name| format!("did you mean `{name}`?"));
        self.refuse(&format!("expected {}", names.join(" or ")), help.as_deref())
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(boolean) => Some(boolean),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn whole<T: TryFrom<i128> + PartialOrd + Display>(&self, least: T, most: T) -> Option<T> {
        let Value::Whole(number) = self.node.value else { return self.expected("a whole number") };
        match T::try_from(number) {
            Ok(number) if number < least => self.refuse(&format!("expected at least {least}"), None),
            Ok(number) if number <= most => Some(number),
            Err(_) if number < 0 => self.refuse("the number is negative", None),
            _ => self.refuse(&format!("the number is too large: expected at most {most}"), None),
        }
    }

    /// A size: a whole number of bytes, or text with a unit, or `"unlimited"`.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match &self.node.value {
            Value::Whole(_) => self.whole(0, u64::MAX).map(Limit::Bytes),
            Value::Text(text) => match Limit::parse(text) {
                Ok(limit) => Some(limit),
                Err(MalformedSize::Number) => {
                    self.refuse("a size is a whole number, with or without a unit, or `unlimited`", None)
                }
                Err(why) => self.refuse(&why.to_string(), None),
            },
            _ => self.expected("a size such as 4096, \"10MiB\" or \"unlimited\""),
        }
    }

    /// A duration such as `"250ms"`, `"5s"`, `"15m"`, `"12h"`; more than nothing.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let Value::Text(text) = &self.node.value else {
            return self.expected("text such as \"5s\" or \"15m\"");
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return self.refuse("a duration is a whole number and one of ms, s, m, h", None),
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)) {
            Some(0) => self.refuse("the duration is zero", None),
            Some(total) if total <= LONGEST_MILLIS => Some(Duration::from_millis(total)),
            _ => self.refuse("a duration is a whole number of at most a year", None),
        }
    }

    /// A path; a relative one starts from `directory`.
    pub(crate) fn path(&self, directory: &Path) -> Option<PathBuf> {
        self.line().map(|path| directory.join(path))
    }

    /// An IP address with its port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self.text()?.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                self.refuse("expected an IP address with port, such as 127.0.0.1:8080 or [::1]:8080", None)
            }
        }
    }

    /// An IP address; IPv4 inside IPv6 becomes IPv4.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self.text()?.parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical()),
            Err(_) => self.refuse("expected an IP address", None),
        }
    }

    /// A network in CIDR form, or one address.
    pub(crate) fn network(&self) -> Option<IpNet> {
        let text = self.text()?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(IpNet::from(address.to_canonical()));
        }
        match text.parse::<IpNet>() {
            Ok(network) if network.addr() == network.network() => Some(network),
            Ok(network) => {
                let help = format!("its network is {}", network.trunc());
                self.refuse("the network has bits set behind its prefix", Some(&help))
            }
            Err(_) => self.refuse("expected a network such as 10.0.0.0/8", None),
        }
    }

    pub(crate) fn list(&self) -> Option<Vec<Field<'n>>> {
        let Value::List(items) = &self.node.value else { return self.expected("a list") };
        let field = |(index, node)| Field { walk: self.walk, node, path: format!("{}[{index}]", self.path) };
        Some(items.iter().enumerate().map(field).collect())
    }

    /// A list of which every item can be read; all items are tried.
    pub(crate) fn each<T>(&self, mut read: impl FnMut(Field<'n>) -> Option<T>) -> Option<Vec<T>> {
        let read: Vec<Option<T>> = self.list()?.into_iter().map(&mut read).collect();
        read.into_iter().collect()
    }

    pub(crate) fn table(&self) -> Option<Table<'n>> {
        let Value::Table(entries) = &self.node.value else { return self.expected("a table of fields") };
        Some(Table { field: self.clone(), entries, fallback: &[], known: Vec::new() })
    }

    /// The keys of a table whose keys anyone may choose, each with its value.
    pub(crate) fn pairs(&self) -> Option<Vec<(&'n str, Field<'n>)>> {
        let Value::Table(entries) = &self.node.value else { return self.expected("a table of fields") };
        let pair = |entry: &'n Entry| (entry.key.as_str(), self.below(&entry.key, &entry.node));
        Some(entries.iter().map(pair).collect())
    }

    fn below(&self, key: &str, node: &'n Node) -> Field<'n> {
        let key = capped(key);
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Field { walk: self.walk, node, path }
    }
}

/// No setting lasts longer than a year.
const LONGEST_MILLIS: u64 = 366 * 24 * 3_600_000;

/// A key as it is shown; nobody reads the end of a hostile one.
fn capped(key: &str) -> String {
    key.chars().take(64).collect()
}

/// A table whose keys are fixed.
pub(crate) struct Table<'n> {
    field: Field<'n>,
    entries: &'n [Entry],
    fallback: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Table<'n> {
    /// The same table, where keys that are absent are taken from another one.
    pub(crate) fn or_from(self, fallback: &'n Node) -> Self {
        match &fallback.value {
            Value::Table(entries) => Self { fallback: entries, ..self },
            _ => self,
        }
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
            let path = if self.field.path.is_empty() {
                key.to_owned()
            } else {
                format!("{}.{key}", self.field.path)
            };
            self.field.walk.problem(self.field.node.at, &path, "the field is missing", None);
        }
        found
    }

    pub(crate) fn refuse<T>(&self, message: &str, help: Option<&str>) -> Option<T> {
        self.field.refuse(message, help)
    }

    /// Notes every key that was never asked for.
    pub(crate) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let field = self.field.below(&entry.key, &entry.node);
            let help = match closest(&entry.key, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the fields here are {}", self.known.join(", ")),
            };
            self.field.walk.problem(entry.at, &field.path, "there is no such field", Some(help));
        }
    }
}
