//! What is wrong with a file: every problem at once, each with its place.
//!
//! A file with a problem is refused whole; there is no such thing as a warning that lets it through. Text from the file
//! is shown in its own line, capped and with control characters escaped, so that a hostile file cannot write to a terminal.

use std::fmt::{self, Write as _};

/// The longest piece of a source line that is shown, in characters.
const LONGEST_EXCERPT: usize = 120;
/// How many problems are kept of one file; what follows the first hundred is noise.
const MOST_PROBLEMS: usize = 100;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named by whoever asked.
    pub file: String,
    /// The line, from 1; 0 when the problem has no place (a missing file).
    pub line: usize,
    /// The column in characters, from 1; 0 when the problem has no place.
    pub column: usize,
    /// The field, such as `capabilities.network.allow[2].host`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, in one lowercase clause.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line of the file, without its line end.
    pub excerpt: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Plain(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", Plain(&self.path))?;
        }
        write!(f, ": {}", Plain(&self.message))?;
        if let Some(excerpt) = self.excerpt.as_ref().filter(|line| !line.trim().is_empty()) {
            self.write_excerpt(f, excerpt)?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  = help: {}", Plain(help)),
            None => Ok(()),
        }
    }
}

impl Problem {
    fn write_excerpt(&self, f: &mut fmt::Formatter<'_>, line: &str) -> fmt::Result {
        let margin = self.line.to_string();
        let shown: String = line.chars().take(LONGEST_EXCERPT).collect();
        write!(f, "\n  {margin} | {}", Plain(&shown))?;
        if (1..=shown.chars().count() + 1).contains(&self.column) {
            write!(f, "\n  {:width$} | {:before$}^", "", "", width = margin.len(), before = self.column - 1)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with the files that were read, in the order of the files and lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// One problem alone.
    #[must_use]
    pub fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// Each problem in turn.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none. A `Problems` that was returned as an error has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the problems of another file.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MOST_PROBLEMS
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if !self.is_full() {
            self.0.push(problem);
        }
    }

    /// `value` if nothing is wrong, and otherwise everything that is, in the order of the lines.
    pub(crate) fn or_else_ok<T>(mut self, value: Option<T>) -> Result<T, Self> {
        self.0.sort_by_key(|problem| (problem.line, problem.column));
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Text on one line: control characters and those that reorder text are escaped.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\t' => f.write_char(' ')?,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                    write!(f, "{}", character.escape_unicode())?;
                }
                control if control.is_control() => write!(f, "{}", control.escape_default())?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            file: "m.json".into(),
            line: 3,
            column: 5,
            path: "ttl_seconds".into(),
            message: "expected a whole number".into(),
            help: Some("write seconds".into()),
            excerpt: Some("    \"1h\"".into()),
        }
    }

    #[test]
    fn a_problem_names_place_field_and_remedy() {
        let expected = "m.json:3:5: ttl_seconds: expected a whole number\n  3 |     \"1h\"\n    |     ^\n  = help: write seconds";
        assert_eq!(problem().to_string(), expected);
    }

    #[test]
    fn a_hostile_line_cannot_write_to_the_terminal() {
        let hostile = Problem { excerpt: Some("\u{1b}[2J\u{202e}\r".into()), ..problem() };
        let shown = hostile.to_string();
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
    }

    #[test]
    fn problems_come_in_the_order_of_the_lines() {
        let mut problems = Problems::default();
        problems.push(problem());
        problems.push(Problem { line: 1, ..problem() });
        let sorted = problems.or_else_ok(Some(())).expect_err("there are problems");
        assert_eq!(sorted.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 3]);
    }
}
