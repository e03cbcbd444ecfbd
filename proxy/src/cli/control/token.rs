//! `portcullis control token`: a secret for somebody who is to use the API.
//!
//! The token is told once and kept nowhere; the file of tokens gets its digest. Whoever runs this decides nothing: the
//! control plane believes its file of tokens.

use std::time::{Duration, SystemTime};

use config::{ApiRole, UserName};
use jiff::Timestamp;
use policy_sync::control::tokens::make_token;
use serde_json::json;

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::{Printer, Table, ca, duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whose token it is: two tokens of one owner are one person where two are asked for.
    #[arg(long, value_name = "USER")]
    owner: UserName,
    /// What it permits: viewer, author, approver, revoker, auditor or admin; repeatable.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
    roles: Vec<ApiRole>,
    /// How long it is good for.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration::parse)]
    expires: Duration,
    /// What the entry and the records call it. Default: something random.
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
}

/// A token and what the file of tokens says of it.
#[derive(Debug)]
pub(crate) struct Made {
    /// The secret.
    pub(crate) token: String,
    /// The entry, TOML.
    pub(crate) entry: String,
    expires: Timestamp,
}

pub(super) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let Arguments { owner, roles, expires, id } = arguments;
    let made = make(id.as_deref(), owner, roles, *expires)?;
    if printer.is_json() {
        printer.json(&json!({"token": made.token, "expires": made.expires, "entry": made.entry}))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::default();
    table.row([&"token", &made.token]);
    printer.data(&json!({}), |_| table)?;
    printer.note(
        "it is told this once; give it to its owner as PORTCULLIS_TOKEN, and add this to the file of tokens:",
    );
    printer.line(format_args!("\n{}", made.entry.trim_end()))?;
    printer.note("then reload the control plane (SIGHUP)");
    Ok(Exit::Done)
}

/// Makes a token.
pub(crate) fn make(
    id: Option<&str>,
    owner: &UserName,
    roles: &[ApiRole],
    life: Duration,
) -> Result<Made, Failure> {
    let id = id.map_or_else(random_id, str::to_owned);
    let expires = Timestamp::try_from(SystemTime::now() + life).map_err(Failure::new)?;
    let expires = Timestamp::from_second(expires.as_second()).map_err(Failure::new)?;
    let (token, digest) = make_token(&id).map_err(|_| Failure::new("the system gives no randomness"))?;
    let mut named: Vec<_> = roles.iter().map(|role| format!("\"{role}\"")).collect();
    named.sort();
    named.dedup();
    let entry = format!(
        "[[tokens]]\nid = \"{id}\"\nsha256 = \"{}\"\nowner = \"{owner}\"\nroles = [{}]\nexpires = \"{expires}\"\n",
        ca::hex(&digest),
        named.join(", ")
    );
    // The same reading that the control plane does: an id that it would refuse is refused here.
    config::ApiToken::read_all(&config::Source::new("tokens.toml", entry.clone()))?;
    Ok(Made { token, entry, expires })
}

fn random_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("t-{}", random.get(..8).unwrap_or_default())
}

fn role(text: &str) -> Result<ApiRole, String> {
    let known = ApiRole::ALL.into_iter().find(|role| role.as_str() == text);
    known.ok_or_else(|| "expected viewer, author, approver, revoker, auditor or admin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{ApiToken, Source};
    use policy_sync::control::tokens::Tokens;

    #[test]
    fn a_token_opens_what_its_entry_says_and_nothing_else() {
        let owner: UserName = "alice@example.com".parse().unwrap();
        let roles = [ApiRole::Revoker, ApiRole::Viewer, ApiRole::Viewer];
        let made = make(None, &owner, &roles, Duration::from_secs(3600)).unwrap();
        assert!(!made.entry.contains(&made.token));
        let entries = ApiToken::read_all(&Source::new("tokens.toml", made.entry.clone())).unwrap();
        let tokens = Tokens::new(entries);
        let caller = tokens.check(&made.token, Timestamp::now()).unwrap();
        assert_eq!(&*caller.owner, "alice@example.com");
        assert_eq!(caller.roles, [ApiRole::Revoker, ApiRole::Viewer]);
        assert!(tokens.check(&made.token, made.expires).is_err());
        assert_ne!(make(None, &owner, &roles, Duration::from_secs(1)).unwrap().token, made.token);
    }

    #[test]
    fn an_id_that_the_file_could_not_hold_is_refused() {
        let owner: UserName = "alice".parse().unwrap();
        for id in ["", "a_b", "a\"b"] {
            assert!(make(Some(id), &owner, &[ApiRole::Viewer], Duration::from_secs(1)).is_err(), "{id}");
        }
    }
}
