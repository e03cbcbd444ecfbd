//! One tree for three languages: values with their places.

/// Where something stands: line and column, in characters from 1; 0 for a place outside the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// A value and where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) value: Value,
}

/// What a file can say. Numbers that are not whole are kept as text: nothing here is measured in fractions.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Whole(i128),
    /// A number with a fraction or an exponent, a date, or a plain word that another reader takes for a number.
    Other(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table, with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Place,
    pub(crate) node: Node,
}

impl Node {
    /// The same values, in no place: for defaults, which stand in no file.
    pub(crate) fn nowhere(mut self) -> Self {
        self.at = Place::default();
        self.value = match self.value {
            Value::List(items) => Value::List(items.into_iter().map(Self::nowhere).collect()),
            Value::Table(entries) => Value::Table(
                entries
                    .into_iter()
                    .map(|entry| Entry { at: Place::default(), node: entry.node.nowhere(), ..entry })
                    .collect(),
            ),
            plain => plain,
        };
        self
    }
}

impl Value {
    /// What it is, for a sentence that begins with "found".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing (null)",
            Self::Bool(_) => "true or false",
            Self::Whole(_) => "a number",
            Self::Other(_) => "a number or date",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}
