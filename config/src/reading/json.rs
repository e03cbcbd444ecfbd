//! JSON, strictly by RFC 8259: one value, no trailing data, no NaN, no comments, no duplicate keys, no lone surrogates.
//!
//! Written out here because positions and duplicate keys are wanted at once. Syntax errors end the reading; a
//! duplicate key is noted and the reading goes on. Depth is bounded before each descent.

use super::DEEPEST;
use super::tree::{Entry, Node, Place, Value};
use super::walk::Walk;

/// Reads one JSON value and nothing after it.
pub(super) fn read(text: &str, walk: &Walk<'_>) -> Option<Node> {
    let mut reader = Reader { rest: text, at: Place::START, walk };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Fault { at, message }) => {
            walk.problem(at, "", &message, None);
            None
        }
    }
}

struct Reader<'t, 'w> {
    rest: &'t str,
    at: Place,
    walk: &'w Walk<'w>,
}

struct Fault {
    at: Place,
    message: String,
}

type Read<T> = Result<T, Fault>;

impl Reader<'_, '_> {
    fn document(&mut self) -> Read<Node> {
        self.skip_space();
        let node = self.value(0)?;
        self.skip_space();
        if self.rest.is_empty() { Ok(node) } else { self.fault("there is more text after the value") }
    }

    fn value(&mut self, depth: usize) -> Read<Node> {
        let at = self.at;
        let value = match self.peek() {
            Some('{') => self.table(self.descend(depth)?)?,
            Some('[') => self.list(self.descend(depth)?)?,
            Some('"') => Value::Text(self.text()?),
            Some('-' | '0'..='9') => self.number()?,
            Some(_) => self.word()?,
            None => return self.fault("the file ends where a value is expected"),
        };
        Ok(Node { at, value })
    }

    fn descend(&self, depth: usize) -> Read<usize> {
        if depth < DEEPEST { Ok(depth + 1) } else { self.fault("nested deeper than 32 levels") }
    }

    fn table(&mut self, depth: usize) -> Read<Value> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut keys = std::collections::HashSet::new();
        self.bump();
        self.skip_space();
        if self.eat('}') {
            return Ok(Value::Table(entries));
        }
        loop {
            let at = self.at;
            if self.peek() != Some('"') {
                return self.fault("expected a key in double quotes");
            }
            let key = self.text()?;
            self.skip_space();
            self.expect(':')?;
            self.skip_space();
            let node = self.value(depth)?;
            if keys.insert(key.clone()) {
                entries.push(Entry { key, at, node });
            } else {
                self.walk.duplicate(at, &key);
            }
            self.skip_space();
            if self.eat('}') {
                return Ok(Value::Table(entries));
            }
            self.expect(',')?;
            self.skip_space();
        }
    }

    fn list(&mut self, depth: usize) -> Read<Value> {
        let mut items = Vec::new();
        self.bump();
        self.skip_space();
        if self.eat(']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.eat(']') {
                return Ok(Value::List(items));
            }
            self.expect(',')?;
            self.skip_space();
        }
    }

    fn text(&mut self) -> Read<String> {
        let mut text = String::new();
        self.bump();
        loop {
            match self.peek() {
                None => return self.fault("the file ends inside quotes"),
                Some('"') => {
                    self.bump();
                    return Ok(text);
                }
                Some('\\') => text.push(self.escape()?),
                Some(control) if control < ' ' => {
                    return self.fault("a control character stands in quotes unescaped");
                }
                Some(plain) => {
                    text.push(plain);
                    self.bump();
                }
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        self.bump();
        let escaped = match self.peek() {
            Some(same @ ('"' | '\\' | '/')) => same,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode_escape(),
            _ => return self.fault("there is no such escape"),
        };
        self.bump();
        Ok(escaped)
    }

    fn unicode_escape(&mut self) -> Read<char> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            let low = if self.eat('\\') { self.four_digits()? } else { 0 };
            if !(0xdc00..0xe000).contains(&low) {
                return self.fault("half of a surrogate pair stands alone");
            }
            0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).map_or_else(|| self.fault("half of a surrogate pair stands alone"), Ok)
    }

    /// The `uXXXX` of an escape, after its backslash.
    fn four_digits(&mut self) -> Read<u32> {
        if !self.eat('u') {
            return self.fault("half of a surrogate pair stands alone");
        }
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|digit| digit.to_digit(16)) else {
                return self.fault("expected four hexadecimal digits");
            };
            code = code * 16 + digit;
            self.bump();
        }
        Ok(code)
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.rest;
        self.eat('-');
        let whole_part = self.digits()?;
        if whole_part > 1 && start.trim_start_matches('-').starts_with('0') {
            return self.fault("a number does not begin with 0");
        }
        let mut whole = true;
        if self.eat('.') {
            whole = false;
            self.digits()?;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            whole = false;
            self.bump();
            let _signed = self.eat('+') || self.eat('-');
            self.digits()?;
        }
        let spelled = start.get(..start.len() - self.rest.len()).unwrap_or_default();
        match spelled.parse() {
            Ok(number) if whole => Ok(Value::Whole(number)),
            _ => Ok(Value::Other(spelled.to_owned())),
        }
    }

    /// One or more digits; says how many.
    fn digits(&mut self) -> Read<usize> {
        let mut count = 0;
        while matches!(self.peek(), Some('0'..='9')) {
            self.bump();
            count += 1;
        }
        if count == 0 { self.fault("expected a digit") } else { Ok(count) }
    }

    fn word(&mut self) -> Read<Value> {
        let known = [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)];
        for (word, value) in known {
            let after = self.rest.strip_prefix(word);
            if after.is_some_and(|after| !after.starts_with(|next: char| next.is_alphanumeric())) {
                word.chars().for_each(|_| self.bump());
                return Ok(value);
            }
        }
        self.fault("expected a value")
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) {
        let mut rest = self.rest.chars();
        match rest.next() {
            Some('\n') => self.at = Place { line: self.at.line + 1, column: 1 },
            Some(_) => self.at.column += 1,
            None => {}
        }
        self.rest = rest.as_str();
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.bump();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Read<()> {
        if self.eat(wanted) { Ok(()) } else { self.fault(&format!("expected `{wanted}`")) }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.bump();
        }
    }

    fn fault<T>(&self, message: &str) -> Read<T> {
        Err(Fault { at: self.at, message: message.to_owned() })
    }
}
