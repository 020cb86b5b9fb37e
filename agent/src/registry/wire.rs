//! How times and SPIFFE IDs stand in stored records: whole seconds and texts.

use super::limits;
use serde::de;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `at`, its fraction of a second cut off; `None` before 1970 and after 9999.
pub(super) fn whole_seconds(at: SystemTime) -> Option<SystemTime> {
    from_seconds(at.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn from_seconds(seconds: u64) -> Option<SystemTime> {
    let since = (seconds <= limits::LATEST_SECONDS).then(|| Duration::from_secs(seconds))?;
    UNIX_EPOCH.checked_add(since)
}

fn at_seconds<E: de::Error>(seconds: u64) -> Result<SystemTime, E> {
    from_seconds(seconds).ok_or_else(|| E::custom("a time after 9999"))
}

/// A time in seconds since 1970.
pub(super) mod time {
    use crate::clock::unix_seconds;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::SystemTime;

    pub(in crate::registry) fn serialize<S: Serializer>(
        at: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(unix_seconds(*at))
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        super::at_seconds(u64::deserialize(deserializer)?)
    }
}

/// A time in seconds since 1970, or null.
pub(super) mod optional_time {
    use crate::clock::unix_seconds;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use std::time::SystemTime;

    pub(in crate::registry) fn serialize<S: Serializer>(
        at: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(unix_seconds).serialize(serializer)
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let seconds = Option::<u64>::deserialize(deserializer)?;
        seconds.map(super::at_seconds).transpose()
    }
}

/// A SPIFFE ID as its URI.
pub(super) mod spiffe_id {
    use serde::{Deserializer, Serializer, de};
    use spiffe::SpiffeId;
    use std::fmt;

    pub(in crate::registry) fn serialize<S: Serializer>(
        id: &SpiffeId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SpiffeId, D::Error> {
        deserializer.deserialize_str(Parse)
    }

    struct Parse;

    impl de::Visitor<'_> for Parse {
        type Value = SpiffeId;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a SPIFFE ID")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<SpiffeId, E> {
            SpiffeId::new(text).map_err(E::custom)
        }
    }
}

/// A trust domain as its name.
pub(super) mod trust_domain {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use spiffe::TrustDomain;

    pub(in crate::registry) fn serialize<S: Serializer>(
        domain: &TrustDomain,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(domain.as_str())
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<TrustDomain, D::Error> {
        parse(&String::deserialize(deserializer)?)
    }

    /// Only in the form in which it is written: `TrustDomain` takes URIs too.
    pub(super) fn parse<E: serde::de::Error>(name: &str) -> Result<TrustDomain, E> {
        let parsed = TrustDomain::new(name).map_err(E::custom)?;
        let is_name = parsed.as_str() == name;
        is_name
            .then_some(parsed)
            .ok_or_else(|| E::custom("not the name of a trust domain"))
    }
}

/// Trust domains by their names.
pub(super) mod trust_domains {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use spiffe::TrustDomain;

    pub(in crate::registry) fn serialize<S: Serializer>(
        domains: &[TrustDomain],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(domains.iter().map(TrustDomain::as_str))
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<[TrustDomain]>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names
            .iter()
            .map(|name| super::trust_domain::parse(name))
            .collect()
    }
}
