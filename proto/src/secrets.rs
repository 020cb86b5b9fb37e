//! `Debug` for the messages that carry keys or tokens: it names the identity and hides the rest.

use crate::{
    credentials::{
        FetchClientCredentialResponse, MintClientAssertionResponse, SignDpopProofResponse,
        SignWorkloadProofResponse,
    },
    workload::{Jwtsvid, ValidateJwtsvidRequest, Witsvid, X509svid},
};
use std::fmt::{Debug, Formatter, Result};

macro_rules! hidden {
    ($($message:ident),*) => {$(
        impl Debug for $message {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                f.debug_struct(stringify!($message))
                    .field("client_id", &self.client_id)
                    .field("jti", &self.jti)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

hidden!(
    MintClientAssertionResponse,
    FetchClientCredentialResponse,
    SignDpopProofResponse,
    SignWorkloadProofResponse
);

impl Debug for X509svid {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("X509svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("hint", &self.hint)
            .finish_non_exhaustive()
    }
}

impl Debug for Jwtsvid {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Jwtsvid")
            .field("spiffe_id", &self.spiffe_id)
            .field("hint", &self.hint)
            .finish_non_exhaustive()
    }
}

impl Debug for Witsvid {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Witsvid")
            .field("spiffe_id", &self.spiffe_id)
            .field("hint", &self.hint)
            .finish_non_exhaustive()
    }
}

impl Debug for ValidateJwtsvidRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("ValidateJwtsvidRequest")
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::X509svid;

    #[test]
    fn keys_are_not_printed() {
        let message = X509svid {
            spiffe_id: "spiffe://example.org/a".into(),
            x509_svid_key: b"PRIVATE".as_slice().into(),
            ..X509svid::default()
        };
        let printed = format!("{message:?}");
        assert!(printed.contains("spiffe://example.org/a"));
        assert!(!printed.contains("key"), "{printed}");
    }
}
