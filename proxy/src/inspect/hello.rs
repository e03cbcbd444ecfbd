//! The inside of a ClientHello: just enough of RFC 8446 §4.1.2 and RFC 6066 §3 to know whom it names.
//!
//! Every length must agree with every other, because a hello that two readers can take apart in two
//! ways is a hello that names one host here and another upstream. Never guesses, never skips.

use config::{Host, Name};

use super::ClientHello;

/// Why bytes that begin like TLS are not a ClientHello to rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A record that is not a handshake record comes first or in between.
    #[error("a record of another type precedes the ClientHello")]
    OtherRecord,
    /// The record's major version is not 3.
    #[error("the record version is not one of TLS")]
    RecordVersion,
    /// A record without payload.
    #[error("a record is empty")]
    EmptyRecord,
    /// The first handshake message is of another type.
    #[error("the first handshake message is not a ClientHello")]
    OtherMessage,
    /// More handshake bytes follow in the record that ends the ClientHello.
    #[error("handshake bytes follow the ClientHello in its record")]
    TrailingBytes,
    /// A record or the flight is longer than is looked at.
    #[error("the ClientHello is too long")]
    TooLong,
    /// The stream ended inside the first flight.
    #[error("the stream ended within the ClientHello")]
    Truncated,
    /// A ClientHello in the SSLv2 form, which cannot name a server.
    #[error("the hello has the SSLv2 form")]
    Ssl2,
    /// Lengths inside the message contradict each other.
    #[error("the lengths within the ClientHello contradict each other")]
    Structure,
    /// An extension occurs twice (RFC 8446 §4.2).
    #[error("an extension occurs twice")]
    DuplicateExtension,
    /// The server_name extension is empty, has several names, or one of an unknown type.
    #[error("the server_name extension does not hold exactly one host name")]
    ServerNameList,
    /// The name is an address or not a host name at all (RFC 6066 §3).
    #[error("the server name is not a host name")]
    ServerName,
}

const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const HOST_NAME: u8 = 0;
const RANDOM_BYTES: usize = 32;
const MAX_SESSION_ID: usize = 32;

/// Reads the body of a ClientHello message.
pub(super) fn read(body: &[u8]) -> Result<ClientHello, Malformed> {
    let mut rest = Reader(body);
    let [major, _minor] = rest.array()?;
    rest.take(RANDOM_BYTES)?;
    let session_id = rest.short_vector()?;
    let suites = rest.vector()?;
    let compressions = rest.short_vector()?;
    let sound = major == 3
        && session_id.len() <= MAX_SESSION_ID
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && !compressions.is_empty();
    if !sound {
        return Err(Malformed::Structure);
    }
    if rest.is_empty() {
        return Ok(ClientHello { sni: None, ech: false });
    }
    let extensions = rest.vector()?;
    rest.end()?;
    read_extensions(extensions)
}

fn read_extensions(bytes: &[u8]) -> Result<ClientHello, Malformed> {
    let mut hello = ClientHello { sni: None, ech: false };
    let mut kinds = Vec::new();
    let mut rest = Reader(bytes);
    while !rest.is_empty() {
        let kind = u16::from_be_bytes(rest.array()?);
        let content = rest.vector()?;
        match kind {
            SERVER_NAME => hello.sni = Some(read_server_name(content)?),
            ENCRYPTED_CLIENT_HELLO => hello.ech = true,
            _ => {}
        }
        kinds.push(kind);
    }
    kinds.sort_unstable();
    if kinds.is_sorted_by(|one, next| one < next) { Ok(hello) } else { Err(Malformed::DuplicateExtension) }
}

fn read_server_name(content: &[u8]) -> Result<Name, Malformed> {
    let mut outer = Reader(content);
    let mut list = Reader(outer.vector()?);
    outer.end()?;
    if list.is_empty() {
        return Err(Malformed::ServerNameList);
    }
    let [kind] = list.array()?;
    let name = list.vector()?;
    if kind != HOST_NAME || !list.is_empty() {
        return Err(Malformed::ServerNameList);
    }
    match Host::parse_wire(name) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Ip(_)) | Err(_) => Err(Malformed::ServerName),
    }
}

/// A cursor that can only take what is there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Structure) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (now, later) = self.0.split_at_checked(count).ok_or(Malformed::Structure)?;
        self.0 = later;
        Ok(now)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (now, later) = self.0.split_first_chunk::<N>().ok_or(Malformed::Structure)?;
        self.0 = later;
        Ok(*now)
    }

    /// A vector with a one-byte length.
    fn short_vector(&mut self) -> Result<&'a [u8], Malformed> {
        let [length] = self.array()?;
        self.take(usize::from(length))
    }

    /// A vector with a two-byte length.
    fn vector(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }
}
