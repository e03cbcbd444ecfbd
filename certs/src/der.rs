//! A reader for the few DER elements that no library hands out: signed envelopes and CRL headers.
//!
//! Relies on nothing. It reads definite, minimal lengths and one-byte tags only, which is all that certificates
//! and CRLs use, and answers `None` for anything else. It never allocates and never looks behind its input.

/// `INTEGER`.
pub(crate) const INTEGER: u8 = 0x02;
/// `BIT STRING`.
pub(crate) const BIT_STRING: u8 = 0x03;
/// `OCTET STRING`.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// `OBJECT IDENTIFIER`.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// `BOOLEAN`.
pub(crate) const BOOLEAN: u8 = 0x01;
/// `SEQUENCE`.
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// One element: its tag, its content, and both with the header as they stood in the input.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) raw: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element, if there is one.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None; // several tag bytes: nothing in X.509 has them
        }
        let (length, rest) = length(rest)?;
        let (content, after) = rest.split_at_checked(length)?;
        let raw = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Element { tag, content, raw })
    }

    /// The next element, which must carry `tag`.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// The next element when it carries `tag`; otherwise nothing is consumed.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.peek() == Some(tag) { self.any() } else { None }
    }
}

/// A length in its shortest form, and what follows it.
fn length(input: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = input.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return None; // indefinite, or beyond 4 GiB
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let value = digits.iter().fold(0_usize, |value, digit| (value << 8) | usize::from(*digit));
    let shortest = digits.first() != Some(&0) && value >= 0x80;
    shortest.then_some((value, rest))
}

/// Wraps `content` into a `SEQUENCE`: webpki hands names out without their header, everybody else with it.
pub(crate) fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
    let mut out = Vec::with_capacity(length + 6);
    out.push(SEQUENCE);
    match (length, u8::try_from(length), u8::try_from(digits.len())) {
        (..0x80, Ok(short), _) => out.push(short),
        (_, _, count) => {
            out.push(0x80 | count.unwrap_or(0x08));
            out.extend_from_slice(&digits);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_definite_form_is_read() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 0x80]].concat();
        let rows: &[(&[u8], Option<usize>)] = &[
            (&[0x04, 0x00], Some(0)),
            (&[0x04, 0x02, 1, 2], Some(2)),
            (&long, Some(0x80)),
            (&[], None),
            (&[0x04], None),
            (&[0x04, 0x03, 1, 2], None),                   // cut off
            (&[0x04, 0x80, 0, 0], None),                   // indefinite
            (&[0x04, 0x81, 0x02, 1, 2], None),             // not the shortest
            (&[0x04, 0x82, 0x00, 0x01, 1], None),          // leading zero
            (&[0x04, 0x85, 1, 1, 1, 1, 1], None),          // too long to be true
            (&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], None), // longer than the input
            (&[0x1f, 0x81, 0x01, 0x00], None),             // several tag bytes
        ];
        for (input, expected) in rows {
            let found = Reader::new(input).any().map(|element| element.content.len());
            assert_eq!(found, *expected, "{input:02x?}");
        }
    }

    #[test]
    fn a_wrapped_sequence_reads_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x1_0000] {
            let content = vec![9; length];
            let wrapped = sequence(&content);
            let mut reader = Reader::new(&wrapped);
            assert_eq!(reader.expect(SEQUENCE).unwrap().content, content);
            assert!(reader.at_end());
        }
    }
}
