//! Services that belong to everybody: where an allowed name does not say whose data goes where.
//!
//! The list is short and made of what agents are seen to use; being absent from it says nothing. A service counts with
//! everything below its name.

use config::Name;

/// Hosting, storage, tunnels, pastes and exchanges, at which anybody can have an account, a bucket or a name.
const SERVICES: &[&str] = &[
    "akamaized.net",
    "amazonaws.com",
    "api.anthropic.com",
    "api.openai.com",
    "appspot.com",
    "azureedge.net",
    "azurewebsites.net",
    "b-cdn.net",
    "backblazeb2.com",
    "bitbucket.org",
    "blob.core.windows.net",
    "catbox.moe",
    "cloudfront.net",
    "digitaloceanspaces.com",
    "discord.com",
    "dropboxapi.com",
    "dropboxusercontent.com",
    "fastly.net",
    "file.io",
    "firebaseio.com",
    "github.com",
    "github.io",
    "githubusercontent.com",
    "gitlab.com",
    "gitlab.io",
    "googleapis.com",
    "googleusercontent.com",
    "herokuapp.com",
    "hooks.slack.com",
    "huggingface.co",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.io",
    "npmjs.org",
    "onrender.com",
    "pages.dev",
    "pastebin.com",
    "pypi.org",
    "r2.cloudflarestorage.com",
    "r2.dev",
    "requestbin.com",
    "sharepoint.com",
    "supabase.co",
    "t.me",
    "telegram.org",
    "transfer.sh",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "webhook.site",
    "workers.dev",
];

/// Resolvers that answer over HTTPS to everybody.
const RESOLVERS: &[&str] = &[
    "cloudflare-dns.com",
    "dns.adguard-dns.com",
    "dns.google",
    "dns.nextdns.io",
    "dns.quad9.net",
    "doh.opendns.com",
    "mozilla.cloudflare-dns.com",
    "one.one.one.one",
];

pub(super) fn is_shared_service(name: &Name) -> bool {
    is_at_or_below(name, SERVICES)
}

pub(super) fn is_resolver(name: &Name) -> bool {
    is_at_or_below(name, RESOLVERS)
}

/// Whether the name is one that people register: one label below a public suffix.
pub(super) fn is_registered_domain(name: &Name) -> bool {
    psl::domain_str(name.as_str()) == Some(name.as_str())
}

fn is_at_or_below(name: &Name, list: &[&str]) -> bool {
    let below = |service: &str| name.as_str().strip_suffix(service).is_some_and(|rest| rest.ends_with('.'));
    list.iter().any(|service| name.as_str() == *service || below(service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Host;

    fn name(text: &str) -> Name {
        match Host::parse_wire(text.as_bytes()) {
            Ok(Host::Name(name)) => name,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn services_count_with_what_is_below_them_and_nothing_that_only_looks_alike() {
        for (text, expected) in [
            ("github.com", true),
            ("api.github.com", true),
            ("bucket.s3.amazonaws.com", true),
            ("evilgithub.com", false),
            ("github.com.evil.test", false),
            ("com", false),
        ] {
            assert_eq!(is_shared_service(&name(text)), expected, "{text}");
        }
        assert!(is_resolver(&name("dns.google")) && !is_resolver(&name("google.test")));
    }

    #[test]
    fn registered_domains_are_one_label_below_a_public_suffix() {
        for (text, expected) in
            [("example.com", true), ("a.example.com", false), ("example.co.uk", true), ("co.uk", false)]
        {
            assert_eq!(is_registered_domain(&name(text)), expected, "{text}");
        }
    }

    #[test]
    fn the_lists_are_canonical_names() {
        for text in SERVICES.iter().chain(RESOLVERS) {
            assert_eq!(name(text).as_str(), *text);
        }
    }
}
