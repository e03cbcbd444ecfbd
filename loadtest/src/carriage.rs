//! How do the tunnels of a run travel? Each on a connection of its own, or many on shared ones.

use crate::subject::{Protocol, Subject};

/// Options that say how tunnels travel.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Carriage {
    /// What tunnels are asked for in.
    #[arg(long, value_enum, default_value = "h1")]
    protocol: Spoken,
    /// Tunnels on one connection of HTTP/2.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    streams: u32,
}

/// The protocols that a proxy can be asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Spoken {
    /// HTTP/1.1, a connection for each tunnel.
    H1,
    /// HTTP/2, tunnels as streams of shared connections.
    H2,
}

impl Carriage {
    /// The first subject in the protocol asked for. With HTTP/2 it is also measured over HTTP/1.1, as are the others.
    pub(crate) fn beside(&self, subjects: Vec<Subject>) -> Vec<Subject> {
        let other = self.shared().and_then(|protocol| Some(subjects.first()?.over(protocol)));
        let named = other.map(|subject| Subject { name: format!("{}, HTTP/2", subject.name), ..subject });
        named.into_iter().chain(subjects).collect()
    }

    /// The first subject in the protocol asked for, and nothing else of it.
    pub(crate) fn instead(&self, mut subjects: Vec<Subject>) -> Vec<Subject> {
        if let (Some(protocol), Some(first)) = (self.shared(), subjects.first_mut()) {
            *first = first.over(protocol);
        }
        subjects
    }

    /// One line for the report.
    pub(crate) fn said(&self) -> Option<String> {
        self.shared()
            .map(|_| format!("HTTP/2: up to {} tunnels on a connection, opened beforehand", self.streams))
    }

    fn shared(&self) -> Option<Protocol> {
        let streams = usize::try_from(self.streams).unwrap_or(usize::MAX);
        (self.protocol == Spoken::H2).then_some(Protocol::H2 { streams })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Hop;
    use std::sync::Arc;

    fn subject(name: &str) -> Subject {
        let address = ([127, 0, 0, 1], 1).into();
        let (hop, protocol, destinations) = (Hop::Plain, Protocol::H1, Arc::from([]));
        Subject { name: name.into(), address, hop, protocol, process: None, destinations }
    }

    fn names(subjects: &[Subject]) -> Vec<(&str, Protocol)> {
        subjects.iter().map(|subject| (subject.name.as_str(), subject.protocol)).collect()
    }

    #[test]
    fn only_the_first_subject_changes_its_protocol() {
        let both = || vec![subject("gateway"), subject("relay")];
        let (h1, h2) = (Protocol::H1, Protocol::H2 { streams: 7 });
        let shared = Carriage { protocol: Spoken::H2, streams: 7 };
        let expected = [("gateway, HTTP/2", h2), ("gateway", h1), ("relay", h1)];
        assert_eq!(names(&shared.beside(both())), expected);
        assert_eq!(names(&shared.instead(both())), [("gateway", h2), ("relay", h1)]);
        let alone = Carriage { protocol: Spoken::H1, streams: 7 };
        assert_eq!(names(&alone.beside(both())), [("gateway", h1), ("relay", h1)]);
        assert_eq!(names(&alone.instead(both())), [("gateway", h1), ("relay", h1)]);
    }
}
