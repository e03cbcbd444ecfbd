//! What is a revocation aimed at, in a body and in a query?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::body::Fields;
use super::refusal::Refusal;
use crate::target::{CertificateTarget, Target, from_hex};

/// The one target that an object names.
pub(super) fn read(fields: &mut Fields) -> Result<Target, Refusal> {
    let named = [
        fields.parsed("manifest_id")?.map(Target::Manifest),
        fields.parsed("device")?.map(Target::Device),
        fields.parsed("user")?.map(Target::User),
        fields.parsed("agent")?.map(Target::Agent),
        certificate(fields)?.map(Target::Certificate),
        fields.only_true("all")?.map(|()| Target::All),
    ];
    let mut named = named.into_iter().flatten();
    match (named.next(), named.next()) {
        (Some(target), None) => Ok(target),
        (None, _) => Err(Refusal::field(
            "",
            "it names no target: one of manifest_id, device, user, agent, certificate, all",
        )),
        (Some(_), Some(second)) => Err(fields.wrong(second.kind(), "it names more than one target")),
    }
}

fn certificate(fields: &mut Fields) -> Result<Option<CertificateTarget>, Refusal> {
    let Some(value) = fields.raw("certificate") else { return Ok(None) };
    let wrong = || {
        let hint = "expected a SHA-256 in hex, or an object of issuer (DER in base64) and serial (hex)";
        fields.wrong("certificate", hint)
    };
    if value.get().starts_with('"') {
        let text: String = serde_json::from_str(value.get()).map_err(|_| wrong())?;
        return CertificateTarget::parse_fingerprint(&text).map(Some).ok_or_else(wrong);
    }
    if !value.get().starts_with('{') {
        return Err(wrong());
    }
    issuer_serial(fields, &value).map(Some)
}

fn issuer_serial(fields: &Fields, value: &RawValue) -> Result<CertificateTarget, Refusal> {
    let mut inner = fields.object("certificate", value)?;
    let issuer = inner.required("issuer")?;
    let serial = inner.required("serial")?;
    let issuer = STANDARD.decode(&issuer).map_err(|_| inner.wrong("issuer", "expected base64"))?;
    if issuer.is_empty() || issuer.len() > 4096 {
        return Err(inner.wrong("issuer", "expected 1 to 4096 bytes"));
    }
    let target = CertificateTarget::parse_issuer_serial(&issuer, &serial)
        .ok_or_else(|| inner.wrong("serial", "expected 1 to 64 bytes in hex"))?;
    inner.finish()?;
    Ok(target)
}

/// A target as it stands in a query: `device:device-7`, `certificate:<hex>`, `certificate:<issuer in hex>/<serial in hex>`,
/// `all`.
pub(super) fn parse(text: &str) -> Option<Target> {
    if text == "all" {
        return Some(Target::All);
    }
    let (kind, name) = text.split_once(':')?;
    match kind {
        "manifest_id" => name.parse().ok().map(Target::Manifest),
        "device" => name.parse().ok().map(Target::Device),
        "user" => name.parse().ok().map(Target::User),
        "agent" => name.parse().ok().map(Target::Agent),
        "certificate" => match name.split_once('/') {
            None => CertificateTarget::parse_fingerprint(name),
            Some((issuer, serial)) => CertificateTarget::parse_issuer_serial(&from_hex(issuer)?, serial),
        }
        .map(Target::Certificate),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, String> {
        let read = || {
            let mut fields = Fields::read(text.as_bytes())?;
            let target = read(&mut fields)?;
            fields.finish()?;
            Ok(target.to_string())
        };
        read().map_err(|refusal: Refusal| match refusal {
            Refusal::Field { field, .. } => field.into_owned(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn exactly_one_target_is_named() {
        let fingerprint = "ab".repeat(32);
        for (text, expected) in [
            (r#"{"manifest_id":"cm-987"}"#.to_owned(), Ok("manifest_id:cm-987".to_owned())),
            (r#"{"device":"device-7"}"#.into(), Ok("device:device-7".into())),
            (r#"{"user":"alice@example.com"}"#.into(), Ok("user:alice@example.com".into())),
            (r#"{"agent":"cowork-v1.0"}"#.into(), Ok("agent:cowork-v1.0".into())),
            (format!(r#"{{"certificate":"{fingerprint}"}}"#), Ok(format!("certificate:{fingerprint}"))),
            (
                r#"{"certificate":{"issuer":"MAA=","serial":"00:0a"}}"#.into(),
                Ok("certificate:3000/0a".into()),
            ),
            (r#"{"all":true}"#.into(), Ok("all".into())),
            (r#"{}"#.into(), Err(String::new())),
            (r#"{"all":false}"#.into(), Err("all".into())),
            (r#"{"all":1}"#.into(), Err("all".into())),
            (r#"{"all":true,"device":"d"}"#.into(), Err("all".into())),
            (r#"{"device":"d","user":"u"}"#.into(), Err("user".into())),
            (r#"{"device":"a b"}"#.into(), Err("device".into())),
            (r#"{"device":""}"#.into(), Err("device".into())),
            (r#"{"device":7}"#.into(), Err("device".into())),
            (r#"{"certificate":"abc"}"#.into(), Err("certificate".into())),
            (r#"{"certificate":7}"#.into(), Err("certificate".into())),
            (r#"{"certificate":{"issuer":"MAA="}}"#.into(), Err("certificate.serial".into())),
            (r#"{"certificate":{"issuer":"!","serial":"0a"}}"#.into(), Err("certificate.issuer".into())),
            (r#"{"certificate":{"issuer":"MAA=","serial":"0a","x":1}}"#.into(), Err("certificate.x".into())),
        ] {
            assert_eq!(check(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_target_reads_back_from_how_it_is_displayed() {
        for text in ["all", "device:d", "user:a@b", "agent:x-1", "manifest_id:cm-1", "certificate:3000/0a"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for text in ["", "device", "device:", "host:x", "certificate:zz", "ALL", "certificate:/0a"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
