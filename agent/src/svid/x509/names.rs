//! Name constraints of signing certificates (RFC 5280, section 4.2.1.10; X509-SVID.md, section 4.2).

use super::X509Error;
use std::mem::discriminant;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, GeneralSubtree, NameConstraints},
};

/// Whether `constraints` allow every name of `certificate`.
pub(super) fn check(
    constraints: &NameConstraints<'_>,
    certificate: &X509Certificate<'_>,
) -> Result<(), X509Error> {
    let permitted = constraints
        .permitted_subtrees
        .as_deref()
        .unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    let subject = GeneralName::DirectoryName(certificate.subject().clone());
    let has_subject = certificate.subject().iter().next().is_some();
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|_malformed| X509Error::Extension)?;
    let names = alternative
        .iter()
        .flat_map(|san| &san.value.general_names)
        .chain(has_subject.then_some(&subject));
    for name in names {
        check_name(name, permitted, excluded)?;
    }
    Ok(())
}

fn check_name(
    name: &GeneralName<'_>,
    permitted: &[GeneralSubtree<'_>],
    excluded: &[GeneralSubtree<'_>],
) -> Result<(), X509Error> {
    // A constraint speaks about names of its own type alone.
    let same_type =
        |subtree: &&GeneralSubtree<'_>| discriminant(&subtree.base) == discriminant(name);
    for subtree in excluded.iter().filter(same_type) {
        if is_within(name, &subtree.base)? {
            return Err(X509Error::NameConstraints);
        }
    }
    let mut constrained = false;
    for subtree in permitted.iter().filter(same_type) {
        if is_within(name, &subtree.base)? {
            return Ok(());
        }
        constrained = true;
    }
    if constrained {
        return Err(X509Error::NameConstraints);
    }
    Ok(())
}

fn is_within(name: &GeneralName<'_>, base: &GeneralName<'_>) -> Result<bool, X509Error> {
    match (name, base) {
        (GeneralName::URI(uri), GeneralName::URI(base)) => {
            // A URI without a host cannot be judged (RFC 5280, section 4.2.1.10).
            let host = host(uri).ok_or(X509Error::NameConstraints)?;
            Ok(if base.starts_with('.') {
                ends_with(host, base)
            } else {
                host.eq_ignore_ascii_case(base)
            })
        }
        (GeneralName::DNSName(name), GeneralName::DNSName(base)) => {
            Ok(base.is_empty() || name.eq_ignore_ascii_case(base) || is_below(name, base))
        }
        _ => Err(X509Error::UnsupportedConstraint),
    }
}

/// Whether labels can be put before `base` to give `name`.
fn is_below(name: &str, base: &str) -> bool {
    if base.starts_with('.') {
        return ends_with(name, base);
    }
    name.len()
        .checked_sub(base.len() + 1)
        .and_then(|dot| name.get(dot..))
        .and_then(|tail| tail.strip_prefix('.'))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(base))
}

/// Whether `name` is longer than `suffix` and ends with it.
fn ends_with(name: &str, suffix: &str) -> bool {
    name.len()
        .checked_sub(suffix.len())
        .filter(|start| *start > 0)
        .and_then(|start| name.get(start..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

/// The host of a URI with an authority.
fn host(uri: &str) -> Option<&str> {
    let (_scheme, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::{X509Error, check_name};
    use x509_parser::extensions::{GeneralName, GeneralSubtree};

    fn subtree(base: GeneralName<'_>) -> [GeneralSubtree<'_>; 1] {
        [GeneralSubtree { base }]
    }

    #[test]
    fn uri_constraints_compare_the_host() {
        // Name, constraint, whether the name lies within.
        for (uri, base, within) in [
            ("spiffe://example.org/a", "example.org", true),
            ("spiffe://EXAMPLE.org/a", "example.ORG", true),
            ("spiffe://a.example.org/a", "example.org", false),
            ("spiffe://a.example.org/a", ".example.org", true),
            ("spiffe://example.org/a", ".example.org", false),
            ("spiffe://other.org/example.org", "example.org", false),
            ("https://u@example.org:1/a", "example.org", true),
        ] {
            let name = GeneralName::URI(uri);
            let base = subtree(GeneralName::URI(base));
            assert_eq!(check_name(&name, &base, &[]).is_ok(), within, "{uri}");
            assert_eq!(check_name(&name, &[], &base).is_ok(), !within, "{uri}");
        }
    }

    #[test]
    fn dns_constraints_take_in_what_is_below() {
        for (dns, base, within) in [
            ("example.org", "example.org", true),
            ("a.example.org", "example.org", true),
            ("aexample.org", "example.org", false),
            ("a.example.org", ".example.org", true),
            ("example.org", ".example.org", false),
            ("anything", "", true),
        ] {
            let name = GeneralName::DNSName(dns);
            let base = subtree(GeneralName::DNSName(base));
            assert_eq!(check_name(&name, &base, &[]).is_ok(), within, "{dns}");
            assert_eq!(check_name(&name, &[], &base).is_ok(), !within, "{dns}");
        }
    }

    #[test]
    fn a_uri_without_a_host_is_refused_under_a_uri_constraint() {
        let name = GeneralName::URI("urn:a");
        let base = subtree(GeneralName::URI("example.org"));
        assert!(matches!(
            check_name(&name, &[], &base),
            Err(X509Error::NameConstraints)
        ));
    }

    #[test]
    fn a_constraint_leaves_names_of_other_types_alone() {
        let base = subtree(GeneralName::IPAddress(&[0; 8]));
        check_name(&GeneralName::URI("spiffe://example.org/a"), &[], &base).unwrap();
        assert!(matches!(
            check_name(&GeneralName::IPAddress(&[1; 4]), &[], &base),
            Err(X509Error::UnsupportedConstraint)
        ));
    }
}
