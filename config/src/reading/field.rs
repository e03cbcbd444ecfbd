//! One value of a file, and what it can be read as. Every wrong one is noted with its path and place.
//!
//! A getter returns `None` for what is not right, after noting why; nothing is converted silently, and nothing wrong
//! becomes a default.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::suggest::closest;
use super::tree::{Entry, Node, Place, Value};
use super::walk::{Table, Walk};
use crate::size::{Limit, MalformedSize};

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
        Some(Table::new(self.clone(), entries))
    }

    /// The keys of a table whose keys anyone may choose, each with its value.
    pub(crate) fn pairs(&self) -> Option<Vec<(&'n str, Field<'n>)>> {
        let Value::Table(entries) = &self.node.value else { return self.expected("a table of fields") };
        let pair = |entry: &'n Entry| (entry.key.as_str(), self.below(&entry.key, &entry.node));
        Some(entries.iter().map(pair).collect())
    }

    pub(super) fn below(&self, key: &str, node: &'n Node) -> Field<'n> {
        Field { walk: self.walk, node, path: self.path_below(key) }
    }

    /// Whether the file has so many problems that no more are noted.
    pub(super) fn is_over(&self) -> bool {
        self.walk.is_full()
    }

    /// Notes that something is wrong with a key; without a place of its own, where the table stands.
    pub(super) fn refuse_below<T>(
        &self,
        key: &str,
        at: Option<Place>,
        message: &str,
        help: Option<&str>,
    ) -> Option<T> {
        self.walk.problem(
            at.unwrap_or(self.node.at),
            &self.path_below(key),
            message,
            help.map(str::to_owned),
        );
        None
    }

    /// Notes that something is wrong with a key itself.
    pub(super) fn refuse_key(&self, entry: &Entry, message: &str, help: String) {
        self.walk.problem(entry.at, &self.path_below(&entry.key), message, Some(help));
    }

    fn path_below(&self, key: &str) -> String {
        let key = capped(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

/// No setting lasts longer than a year.
const LONGEST_MILLIS: u64 = 366 * 24 * 3_600_000;

/// A key as it is shown; nobody reads the end of a hostile one.
pub(super) fn capped(key: &str) -> String {
    key.chars().take(64).collect()
}
