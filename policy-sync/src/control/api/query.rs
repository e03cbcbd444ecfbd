//! What does the query of a request say? Known names, each once, each in its form.

use axum::extract::{FromRequestParts, Query};
use http::Uri;
use http::request::Parts;

use super::refusal::Refusal;

/// A request whose query says nothing.
#[derive(Debug)]
pub(super) struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Parameters::of(&parts.uri)?.finish().map(|()| Self)
    }
}

/// The parameters that have not been asked for yet.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query of a request.
    pub(super) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let Query(all) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Refusal::field("", "the query cannot be read"))?;
        Ok(Self(all))
    }

    /// A parameter, if it is there.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(Refusal::field(name, "the parameter is there twice"));
        }
        Ok(Some(value))
    }

    /// A whole number, if it is there; one that is larger than `most` counts as `most`.
    pub(super) fn whole(&mut self, name: &'static str, most: u64) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if text.is_empty() || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::field(name, "expected a whole number"));
        }
        Ok(Some(text.parse().unwrap_or(u64::MAX).min(most)))
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::field("", "the query has a parameter that is not known here"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_capped_and_what_is_no_number_is_refused() {
        for (query, expected) in [
            ("n=5", Some(Some(5))),
            ("", Some(None)),
            ("n=99999999999999999999999999", Some(Some(100))),
            ("n=-1", None),
            ("n=+1", None),
            ("n=1.0", None),
            ("n=", None),
            ("n=1&n=1", None),
            ("m=1", None),
            ("n=%ff", None),
        ] {
            let uri: Uri = format!("/x?{query}").parse().unwrap();
            let read = || {
                let mut parameters = Parameters::of(&uri)?;
                let number = parameters.whole("n", 100)?;
                parameters.finish()?;
                Ok::<_, Refusal>(number)
            };
            assert_eq!(read().ok(), expected, "{query}");
        }
    }
}
