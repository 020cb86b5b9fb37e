//! What an operator says of a bundle endpoint, from outside input to checked parameters.

use crate::{
    authority::{BundleError, ForeignBundle},
    registry::limits,
    uri::Uri,
};
use serde::{Deserialize, Serialize};
use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
use std::sync::Arc;

/// What breaks a rule of bundle endpoints.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EndpointError {
    /// Nobody else speaks for us.
    #[error("{0} is this agent's own trust domain")]
    OwnTrustDomain(TrustDomain),
    /// `SPIFFE_Federation.md`, sections 5.2.1.1 and 5.2.2.1.
    #[error("the URL of a bundle endpoint {0}")]
    Url(&'static str),
    /// `SPIFFE_Federation.md`, section 5.2.
    #[error("the profile is \"https_web\" or \"https_spiffe\"")]
    Profile,
    /// `SPIFFE_Federation.md`, section 5.2.2.2.
    #[error("the profile https_spiffe needs the SPIFFE ID of the bundle endpoint")]
    NoId,
    /// `SPIFFE_Federation.md`, section 5.2.1.2.
    #[error("the profile https_web knows no SPIFFE ID of the bundle endpoint")]
    NeedlessId,
    /// Not a SPIFFE ID of a workload.
    #[error("the SPIFFE ID of the bundle endpoint: {0}")]
    Id(SpiffeIdError),
    /// The trust domain's own ID, or a longer one than there may be.
    #[error("the SPIFFE ID of the bundle endpoint has a path, and at most 2,048 bytes")]
    NoWorkload,
    /// `SPIFFE_Federation.md`, section 5.2.2.2.
    #[error(
        "a bundle endpoint of the profile https_spiffe that is of the trust domain itself needs \
         its first bundle"
    )]
    NoBundle,
    /// The first bundle is none.
    #[error("the first bundle: {0}")]
    Bundle(#[from] BundleError),
}

/// How a bundle endpoint is authenticated (`SPIFFE_Federation.md`, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `https_web`: by the Web PKI.
    Web,
    /// `https_spiffe`: by an X.509-SVID with this ID.
    Spiffe(SpiffeId),
}

impl Profile {
    /// Its name in the standard.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Web => "https_web",
            Self::Spiffe(_) => "https_spiffe",
        }
    }

    /// The SPIFFE ID of the endpoint, where the profile has one.
    #[must_use]
    pub const fn endpoint_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Web => None,
            Self::Spiffe(id) => Some(id),
        }
    }
}

/// What an operator says, not yet checked; what a stored record carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointDraft {
    /// The first bundle, as its document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The SPIFFE ID of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_spiffe_id: Option<String>,
    /// `https_web` or `https_spiffe`.
    pub profile: String,
    /// Where the bundle is fetched.
    pub url: String,
}

/// Where the bundle of a foreign trust domain comes from (`SPIFFE_Federation.md`, section 5.1).
#[derive(Clone, Debug)]
pub struct BundleEndpoint {
    /// An https URL without user information.
    pub url: Arc<str>,
    /// How the endpoint is authenticated.
    pub profile: Profile,
    /// The bundle to begin with: its document, and what it says.
    pub bundle: Option<(Arc<str>, Arc<ForeignBundle>)>,
}

impl EndpointDraft {
    /// Checks what is said of the endpoint of `trust_domain`; `own` is the agent's.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(
        self,
        trust_domain: &TrustDomain,
        own: &TrustDomain,
    ) -> Result<BundleEndpoint, EndpointError> {
        if trust_domain == own {
            return Err(EndpointError::OwnTrustDomain(own.clone()));
        }
        check_url(&self.url).map_err(EndpointError::Url)?;
        let profile = match (&*self.profile, self.endpoint_spiffe_id) {
            ("https_web", None) => Profile::Web,
            ("https_web", Some(_)) => return Err(EndpointError::NeedlessId),
            ("https_spiffe", Some(id)) => Profile::Spiffe(endpoint_id(&id)?),
            ("https_spiffe", None) => return Err(EndpointError::NoId),
            _ => return Err(EndpointError::Profile),
        };
        let is_self_serving = profile
            .endpoint_id()
            .is_some_and(|id| id.is_member_of(trust_domain));
        if is_self_serving && self.bundle.is_none() {
            return Err(EndpointError::NoBundle);
        }
        let bundle = self.bundle.map(|document| {
            let bundle = ForeignBundle::parse(trust_domain, document.as_bytes())?;
            Ok::<_, BundleError>((document.into(), Arc::new(bundle)))
        });
        Ok(BundleEndpoint {
            url: self.url.into(),
            profile,
            bundle: bundle.transpose()?,
        })
    }
}

fn endpoint_id(text: &str) -> Result<SpiffeId, EndpointError> {
    let id = SpiffeId::new(text).map_err(EndpointError::Id)?;
    if id.path().is_empty() || text.len() > limits::SPIFFE_ID_BYTES {
        return Err(EndpointError::NoWorkload);
    }
    Ok(id)
}

/// `SPIFFE_Federation.md`, sections 5.2.1.1 and 5.2.2.1. A fragment would never be sent.
fn check_url(text: &str) -> Result<(), &'static str> {
    if text.len() > limits::URL_BYTES {
        return Err("has at most 1,024 bytes");
    }
    if text.contains('#') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has no spaces, no control characters and no fragment");
    }
    let uri = Uri::parse(text).map_err(|_malformed| "is none")?;
    if uri.scheme != "https" {
        return Err("begins with https://");
    }
    let authority = uri.authority.ok_or("has a host")?;
    if authority.user_info.is_some() {
        return Err("has no user information");
    }
    if authority.host.is_empty() || authority.port == Some(0) {
        return Err("has a host");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{EndpointDraft, EndpointError};
    use spiffe::TrustDomain;

    const URL: &str = "https://other.example/bundle";
    const ID: &str = "spiffe://other.example/bundles";

    fn named(name: &str) -> TrustDomain {
        TrustDomain::new(name).unwrap()
    }

    fn check(url: &str, profile: &str, id: Option<&str>) -> Result<(), EndpointError> {
        check_of("other.example", url, profile, id)
    }

    fn check_of(
        domain: &str,
        url: &str,
        profile: &str,
        id: Option<&str>,
    ) -> Result<(), EndpointError> {
        let draft = EndpointDraft {
            bundle: None,
            endpoint_spiffe_id: id.map(str::to_owned),
            profile: profile.to_owned(),
            url: url.to_owned(),
        };
        let checked = draft.check(&named(domain), &named("example.org"));
        checked.map(drop)
    }

    #[test]
    fn endpoints_keep_to_the_profiles() {
        check(URL, "https_web", None).unwrap();
        // Not self-serving: its bundle comes by another relationship.
        check(URL, "https_spiffe", Some("spiffe://third.example/b")).unwrap();
        for (profile, id, error) in [
            ("https_web", Some(ID), EndpointError::NeedlessId),
            ("https_spiffe", None, EndpointError::NoId),
            ("https_spiffe", Some(ID), EndpointError::NoBundle),
            ("HTTPS_WEB", None, EndpointError::Profile),
            ("", None, EndpointError::Profile),
            (
                "https_spiffe",
                Some("spiffe://other.example"),
                EndpointError::NoWorkload,
            ),
        ] {
            assert_eq!(check(URL, profile, id), Err(error), "{profile} {id:?}");
        }
        let bad = check(URL, "https_spiffe", Some("https://other.example/b"));
        assert!(matches!(bad, Err(EndpointError::Id(_))));
    }

    #[test]
    fn nobody_is_asked_for_our_own_bundle() {
        let own = check_of("example.org", URL, "https_web", None);
        assert!(matches!(own, Err(EndpointError::OwnTrustDomain(_))));
    }

    #[test]
    fn only_plain_https_urls_are_endpoints() {
        let long = format!("https://other.example/{}", "a".repeat(1024));
        for url in [
            "",
            "other.example",
            "/bundle",
            "http://other.example/",
            "HTTP://other.example/",
            "https:///bundle",
            "https://user@other.example/",
            "https://user:pass@other.example/",
            "https://other.example/#a",
            "https://other.example/a b",
            "https://other.example/\u{202e}",
            "https://other.example:0/",
            "https://other.example:99999/",
            &long,
        ] {
            let refused = check(url, "https_web", None);
            assert!(matches!(refused, Err(EndpointError::Url(_))), "{url}");
        }
        for url in ["https://other.example", "https://[::1]:8443/b?c=d"] {
            check(url, "https_web", None).unwrap();
        }
    }
}
