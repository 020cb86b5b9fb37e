//! `[credentials_api]`: what processes show to OAuth servers.

use super::{
    authority::JWKS_CACHE,
    fault::Problem,
    key::Key,
    reader::Reader,
    setting::{Raw, Setting, quoted},
    units::{DAY, MINUTE},
};
use crate::{registry::IssuerUrl, svid::proof::Target};
use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

/// Client assertions and the keys that sign them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsApi {
    /// Authorization servers that read their token endpoint in `aud`.
    pub token_endpoint_audiences: TokenEndpoints,
    /// Life of a client assertion.
    pub assertion_ttl: Duration,
    /// Life of a client's key.
    pub client_key_ttl: Duration,
    /// How long a client's key is published before it signs.
    pub client_key_lead: Duration,
}

/// Token endpoints, by the issuers whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenEndpoints(pub BTreeMap<IssuerUrl, String>);

/// More servers than anybody has that differ from the standard.
const MOST_SERVERS: usize = 256;

const ASSERTION_TTLS: RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(MINUTE);
const KEY_TTLS: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(366 * DAY);
const LEADS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * DAY);

/// A key lives for as many `client_key_lead` at least, and [`ROUNDING`].
const LEADS_OF_A_KEY: u32 = 4;

/// Times of keys are kept in seconds, and count from the next one.
const ROUNDING: Duration = Duration::from_secs(1);

const TOKEN_ENDPOINT_AUDIENCES: Key = Key::new(
    "credentials_api",
    "token_endpoint_audiences",
    "Authorization servers that accept client assertions and JWT-SVIDs for their token endpoint \
     alone, as \"ISSUER=TOKEN_ENDPOINT\" each. For all others the audience is the issuer, as the \
     standards have it.",
)
.live();
const ASSERTION_TTL: Key = Key::new(
    "credentials_api",
    "assertion_ttl",
    "Lifetime of client assertions, a minute at most.",
)
.live();
const CLIENT_KEY_TTL: Key = Key::new(
    "credentials_api",
    "client_key_ttl",
    "Lifetime of a client's key, at least four client_key_lead and a second. The next one is made \
     and published at half of it.",
);
const CLIENT_KEY_LEAD: Key = Key::new(
    "credentials_api",
    "client_key_lead",
    "How long a client's next key is published before it signs: longer than any authorization \
     server keeps a JWKS without asking again, and at least authority.jwks_cache.",
);

pub(super) const KEYS: &[&Key] = &[
    &TOKEN_ENDPOINT_AUDIENCES,
    &ASSERTION_TTL,
    &CLIENT_KEY_TTL,
    &CLIENT_KEY_LEAD,
];

pub(super) fn read(reader: &mut Reader<'_>, jwks_cache: Duration) -> CredentialsApi {
    let minute = Duration::from_secs(MINUTE);
    let (month, day) = (Duration::from_secs(30 * DAY), Duration::from_secs(DAY));
    let config = CredentialsApi {
        token_endpoint_audiences: reader
            .value(&TOKEN_ENDPOINT_AUDIENCES, TokenEndpoints::default()),
        assertion_ttl: reader.within(&ASSERTION_TTL, minute, ASSERTION_TTLS),
        client_key_ttl: reader.within(&CLIENT_KEY_TTL, month, KEY_TTLS),
        client_key_lead: reader.within(&CLIENT_KEY_LEAD, day, LEADS),
    };
    reader.at_least(
        (&CLIENT_KEY_LEAD, config.client_key_lead),
        (&JWKS_CACHE, jwks_cache),
    );
    // The next key is made after two of them, signs after three, and has the last one to be late.
    let least = config.client_key_lead * LEADS_OF_A_KEY + ROUNDING;
    if config.client_key_ttl < least {
        reader.refuse(
            &CLIENT_KEY_TTL,
            Problem::NoRoomForClientKeys {
                ttl: config.client_key_ttl,
                least,
            },
        );
    }
    config
}

impl Setting for TokenEndpoints {
    fn expected() -> String {
        "a list such as [\"https://as.example.org=https://as.example.org/token\"]".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let words = raw.as_list()?;
        let count = words.len();
        let pair = |word: &str| {
            // Neither has a query; of a path with the sign, the first one divides.
            let (issuer, endpoint) = word.split_once('=')?;
            let issuer: IssuerUrl = issuer.parse().ok()?;
            let target: Target = endpoint.parse().ok()?;
            Some((issuer, target.as_str().to_owned()))
        };
        let pairs: BTreeMap<_, _> = words.into_iter().map(pair).collect::<Option<_>>()?;
        // An issuer that stands twice would have its last endpoint without a word.
        (pairs.len() == count && count <= MOST_SERVERS).then_some(Self(pairs))
    }

    fn render(&self) -> String {
        let pairs = self.0.iter();
        let words = pairs.map(|(issuer, endpoint)| quoted(&format!("{issuer}={endpoint}")));
        format!("[{}]", words.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::TokenEndpoints;
    use crate::config::setting::{Raw, Setting as _};

    fn parse(text: &str) -> Option<TokenEndpoints> {
        TokenEndpoints::parse(&Raw::untyped(text.to_owned()))
    }

    #[test]
    fn token_endpoints_are_pairs_and_named_once() {
        assert_eq!(parse("").unwrap(), TokenEndpoints::default());
        let two =
            "https://a.example=https://a.example/token, https://b.example=https://b.example/t";
        let parsed = parse(two).unwrap();
        let endpoint = &parsed.0[&"https://a.example".parse().unwrap()];
        assert_eq!(endpoint, "https://a.example/token");
        for bad in [
            "https://a.example",
            "https://a.example=",
            "=https://a.example/token",
            "http://a.example=https://a.example/token",
            "https://a.example=http://a.example/token",
            "https://a.example=https://a.example/t,https://a.example=https://a.example/u",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
