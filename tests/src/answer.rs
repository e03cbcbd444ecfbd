//! One HTTP answer as it came over the wire.

use serde_json::Value;

/// Status, fields and body of an answer. Field names are in lower case.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields, in order.
    pub fields: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads a head that is whole: status line, fields and the empty line.
    ///
    /// # Panics
    /// When it is no answer.
    #[must_use]
    pub fn read_head(head: &[u8]) -> Self {
        let mut slots = [httparse::EMPTY_HEADER; 100];
        let mut parsed = httparse::Response::new(&mut slots);
        let status = parsed.parse(head);
        assert!(
            matches!(status, Ok(httparse::Status::Complete(_))),
            "not an HTTP answer ({status:?}): {:?}",
            String::from_utf8_lossy(head)
        );
        let field = |header: &&mut httparse::Header<'_>| {
            (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
        };
        let fields = parsed.headers.iter_mut().map(|header| field(&header)).collect();
        Self { status: parsed.code.unwrap_or_default(), fields, body: Vec::new() }
    }

    /// A field's first value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|fault| panic!("{fault} in the body {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The `reason` of a refusal.
    ///
    /// # Panics
    /// When the body is not that of a refusal.
    #[must_use]
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_else(|| panic!("no reason in {self:?}")).to_owned()
    }

    /// The `error` parameter of `Proxy-Status`.
    #[must_use]
    pub fn proxy_error(&self) -> Option<&str> {
        let value = self.field("proxy-status")?;
        let parameter = value.split(';').map(str::trim).find_map(|part| part.strip_prefix("error="));
        parameter.map(|token| token.trim_matches('"'))
    }

    /// The `details` parameter of `Proxy-Status`.
    #[must_use]
    pub fn proxy_details(&self) -> Option<&str> {
        let value = self.field("proxy-status")?;
        let parameter = value.split(';').map(str::trim).find_map(|part| part.strip_prefix("details="));
        parameter.map(|token| token.trim_matches('"'))
    }
}
