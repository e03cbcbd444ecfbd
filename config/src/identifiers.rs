//! The names of those who act: device, gateway, agent, user, manifest.
//!
//! All share one alphabet, chosen so that an identifier can stand in a log line, a metric label, a file name, a URI path
//! segment and an HTTP header without escaping: letters and digits of ASCII and `. _ @ + -`, beginning with a letter
//! or a digit, 1 to 128 bytes. Case is significant; nothing is folded or trimmed.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest identifier, in bytes.
const LONGEST: usize = 128;

/// Why text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedIdentifier {
    /// Nothing there.
    #[error("the identifier is empty")]
    Empty,
    /// More than 128 bytes.
    #[error("the identifier is longer than 128 bytes")]
    TooLong,
    /// A character outside the alphabet.
    #[error("the identifier has a character other than letters, digits and . _ @ + -")]
    Character,
    /// It does not begin with a letter or a digit.
    #[error("the identifier does not begin with a letter or a digit")]
    Beginning,
}

fn check(text: &str) -> Result<(), MalformedIdentifier> {
    let in_alphabet =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'+' | b'-');
    match text.as_bytes() {
        [] => Err(MalformedIdentifier::Empty),
        bytes if bytes.len() > LONGEST => Err(MalformedIdentifier::TooLong),
        bytes if !bytes.iter().all(in_alphabet) => Err(MalformedIdentifier::Character),
        [first, ..] if !first.is_ascii_alphanumeric() => Err(MalformedIdentifier::Beginning),
        _ => Ok(()),
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps the text.
            ///
            /// # Errors
            /// [`MalformedIdentifier`] when it is not 1 to 128 characters of the alphabet.
            pub fn new(text: &str) -> Result<Self, MalformedIdentifier> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text, as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = MalformedIdentifier;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

identifier! {
    /// A device, as its certificate names it.
    DeviceId
}
identifier! {
    /// A gateway, as its certificate names it.
    GatewayName
}
identifier! {
    /// An agent: the program that a manifest is written for, such as `cowork-v1.0`.
    AgentName
}
identifier! {
    /// The person on whose behalf an agent works, such as `alice@example.com`.
    UserName
}
identifier! {
    /// A manifest, such as `cm-987`.
    ManifestId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_kept_as_written() {
        for text in ["device-123", "cowork-v1.0", "alice+x@example.com", "7", "A_b", &"a".repeat(128)] {
            assert_eq!(DeviceId::new(text).expect(text).as_str(), text);
        }
    }

    #[test]
    fn what_would_need_escaping_is_refused() {
        for (text, why) in [
            ("", MalformedIdentifier::Empty),
            (&"a".repeat(129), MalformedIdentifier::TooLong),
            ("a b", MalformedIdentifier::Character),
            ("a/b", MalformedIdentifier::Character),
            ("a:b", MalformedIdentifier::Character),
            ("a\0", MalformedIdentifier::Character),
            ("a\n", MalformedIdentifier::Character),
            ("ä", MalformedIdentifier::Character),
            ("a%41", MalformedIdentifier::Character),
            ("..", MalformedIdentifier::Beginning),
            ("-rf", MalformedIdentifier::Beginning),
        ] {
            assert_eq!(AgentName::new(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn case_is_significant() {
        assert_ne!(UserName::new("Alice"), UserName::new("alice"));
    }
}
