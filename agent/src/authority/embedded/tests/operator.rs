//! An operator's CA in place of a self-signed root.

use super::*;
use crate::authority::OperatorCaError;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (start() - DAY).into();
    params.not_after = (start() + 30 * DAY).into();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into().unwrap())];
    params
}

/// A root and an intermediate of the operator's.
struct Hierarchy {
    root: Vec<u8>,
    intermediate: Vec<u8>,
    key: String,
}

impl Hierarchy {
    fn new(key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let root_params = params("root");
        let root = root_params.self_signed(&root_key).unwrap();
        let mut params = params("intermediate");
        change(&mut params);
        let issuer = Issuer::new(root_params, root_key);
        Self {
            root: root.der().to_vec(),
            intermediate: params.signed_by(&key, &issuer).unwrap().der().to_vec(),
            key: key.serialize_pem(),
        }
    }

    fn good() -> Self {
        Self::new(KeyPair::generate().unwrap(), |_| {})
    }

    /// Writes the files and gives a configuration that names them.
    fn install(&self, folder: &Path, certificates: &[&[u8]]) -> AuthorityConfig {
        let files = OperatorCa {
            certificate_file: folder.join("ca.pem"),
            key_file: folder.join("ca.key"),
        };
        write_pem(&files.certificate_file, certificates);
        fs::write(&files.key_file, &self.key).unwrap();
        fs::set_permissions(&files.key_file, Permissions::from_mode(0o600)).unwrap();
        AuthorityConfig {
            operator: Some(files),
            ..config()
        }
    }

    fn whole(&self, folder: &Path) -> AuthorityConfig {
        self.install(folder, &[&self.intermediate, &self.root])
    }
}

/// Why a hierarchy is refused.
fn refusal(hierarchy: &Hierarchy) -> OperatorCaError {
    let scene = Scene::new();
    let config = hierarchy.whole(scene.folder.path());
    match scene.open_with(config).unwrap_err() {
        AuthorityError::Operator(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn an_intermediate_is_in_the_chain_and_its_root_in_the_bundle() {
    let scene = Scene::new();
    let hierarchy = Hierarchy::good();
    let ca = scene
        .open_with(hierarchy.whole(scene.folder.path()))
        .unwrap();
    assert!(active(&ca, AuthorityKind::X509).operator_supplied);
    assert_eq!(*bundle(&ca).x509_der(), hierarchy.root);
    let signed = sign_x509(&ca, HOUR).unwrap();
    validate_x509(&bundle(&ca), &signed.chain, start());
    assert!(signed.chain.ends_with(&hierarchy.intermediate));
    if !testing::has_openssl("an_intermediate_is_in_the_chain_and_its_root_in_the_bundle") {
        return;
    }

    let folder = scene.folder.path();
    let leaf = signed.chain.len() - hierarchy.intermediate.len();
    write_pem(&folder.join("leaf.pem"), &[&signed.chain[..leaf]]);
    write_pem(&folder.join("middle.pem"), &[&hierarchy.intermediate]);
    fs::write(folder.join("bundle.pem"), bundle(&ca).x509_pem()).unwrap();
    let time = start().duration_since(UNIX_EPOCH).unwrap().as_secs();
    openssl(
        &[
            "verify",
            "-attime",
            &time.to_string(),
            "-CAfile",
            "bundle.pem",
            "-untrusted",
            "middle.pem",
            "leaf.pem",
        ],
        folder,
    );
}

#[test]
fn a_lone_intermediate_is_the_anchor_itself() {
    let scene = Scene::new();
    let hierarchy = Hierarchy::good();
    let config = hierarchy.install(scene.folder.path(), &[&hierarchy.intermediate]);
    let ca = scene.open_with(config).unwrap();
    assert_eq!(*bundle(&ca).x509_der(), hierarchy.intermediate);
    let signed = sign_x509(&ca, HOUR).unwrap();
    validate_x509(&bundle(&ca), &signed.chain, start());
}

#[test]
fn p384_and_rsa_keys_sign_too() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256] {
        let scene = Scene::new();
        let hierarchy = Hierarchy::new(KeyPair::generate_for(algorithm).unwrap(), |_| {});
        let config = hierarchy.install(scene.folder.path(), &[&hierarchy.intermediate]);
        let ca = scene.open_with(config).unwrap();
        let signed = sign_x509(&ca, HOUR).unwrap();
        validate_x509(&bundle(&ca), &signed.chain, start());
    }
}

#[test]
fn leaves_do_not_outlive_any_certificate_of_the_chain() {
    let scene = Scene::new();
    let hierarchy = Hierarchy::new(KeyPair::generate().unwrap(), |p| {
        p.not_after = (start() + HOUR).into();
    });
    let ca = scene
        .open_with(hierarchy.whole(scene.folder.path()))
        .unwrap();
    assert_eq!(sign_x509(&ca, DAY).unwrap().not_after, start() + HOUR);
}

#[test]
fn certificates_that_break_the_profile_are_refused() {
    let refused = |change: fn(&mut CertificateParams)| match refusal(&Hierarchy::new(
        KeyPair::generate().unwrap(),
        change,
    )) {
        OperatorCaError::Profile { source, .. } => source,
        other => panic!("{other}"),
    };
    use x509::X509Error;
    assert!(matches!(
        refused(|p| p.is_ca = IsCa::ExplicitNoCa),
        X509Error::SigningNotCa
    ));
    assert!(matches!(
        refused(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]),
        X509Error::NoCertSign
    ));
    assert!(matches!(
        refused(|p| p.not_after = (start() - HOUR).into()),
        X509Error::Expired
    ));
    assert!(matches!(
        refused(|p| p.not_before = (start() + HOUR).into()),
        X509Error::NotYetValid
    ));
    assert!(matches!(
        refused(|p| {
            p.subject_alt_names = vec![SanType::URI("spiffe://example.org/ca".try_into().unwrap())];
        }),
        X509Error::SigningPath
    ));
}

#[test]
fn a_ca_of_another_trust_domain_is_refused() {
    let hierarchy = Hierarchy::new(KeyPair::generate().unwrap(), |p| {
        p.subject_alt_names = vec![SanType::URI("spiffe://other.org".try_into().unwrap())];
    });
    let error = refusal(&hierarchy);
    assert!(
        matches!(&error, OperatorCaError::TrustDomain { found, .. } if found == "other.org"),
        "{error}"
    );
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let hierarchy = Hierarchy {
        key: KeyPair::generate().unwrap().serialize_pem(),
        ..Hierarchy::good()
    };
    assert!(matches!(refusal(&hierarchy), OperatorCaError::OtherKey(_)));
    for key in [
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        let hierarchy = Hierarchy {
            key: key.to_owned(),
            ..Hierarchy::good()
        };
        assert!(matches!(refusal(&hierarchy), OperatorCaError::Key(_)));
    }
    let two = Hierarchy::good();
    let hierarchy = Hierarchy {
        key: two.key.repeat(2),
        ..two
    };
    assert!(matches!(refusal(&hierarchy), OperatorCaError::Key(_)));
}

#[test]
fn certificates_in_the_wrong_order_are_refused() {
    let scene = Scene::new();
    let hierarchy = Hierarchy::good();
    let folder = scene.folder.path();
    let other = Hierarchy::good();
    for (certificates, expected) in [
        (
            vec![&hierarchy.root, &hierarchy.intermediate],
            "not the key",
        ),
        (vec![&hierarchy.intermediate, &other.root], "cannot issue"),
        (vec![], "no certificate"),
    ] {
        let certificates: Vec<_> = certificates.iter().map(|der| der.as_slice()).collect();
        let config = hierarchy.install(folder, &certificates);
        let error = scene.open_with(config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn files_that_others_can_change_or_read_are_refused() {
    let scene = Scene::new();
    let config = Hierarchy::good().whole(scene.folder.path());
    let files = config.operator.clone().unwrap();
    for (path, mode, is_good) in [
        (&files.key_file, 0o604, false),
        (&files.key_file, 0o620, false),
        (&files.key_file, 0o640, true),
        (&files.certificate_file, 0o664, false),
        (&files.certificate_file, 0o646, false),
        (&files.certificate_file, 0o644, true),
    ] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        match scene.open_with(config.clone()) {
            Ok(_) => assert!(is_good, "{mode:o}"),
            Err(error) => {
                let wide = matches!(error, AuthorityError::Operator(OperatorCaError::Wide(_)));
                assert!(wide && !is_good, "{mode:o} {error}");
            }
        }
    }
}

#[test]
fn what_was_in_force_before_stays_in_the_bundle() {
    let scene = Scene::new();
    let own = scene.open();
    let old = sign_x509(&own, HOUR).unwrap();
    let hierarchy = Hierarchy::good();
    let config = hierarchy.whole(scene.folder.path());
    let supplied = scene.open_with(config.clone()).unwrap();
    validate_x509(&bundle(&supplied), &old.chain, start());
    assert_eq!(bundle(&supplied).sequence(), 2);
    let new = sign_x509(&supplied, HOUR).unwrap();
    assert_eq!(
        slots(&supplied, AuthorityKind::X509),
        [Slot::Retired, Slot::Active]
    );
    // The same again changes nothing.
    let again = scene.open_with(config).unwrap();
    assert_eq!(again.authorities(), supplied.authorities());
    assert_eq!(bundle(&again).sequence(), 2);
    // And back to the first, which is still valid and known.
    let back = scene.open();
    assert_eq!(
        active(&back, AuthorityKind::X509).key_id,
        active(&own, AuthorityKind::X509).key_id
    );
    validate_x509(&bundle(&back), &new.chain, start());
}

#[tokio::test(start_paused = true)]
async fn the_operator_is_told_once_when_the_ca_nears_its_end() {
    let scene = Scene::new();
    let ca = scene
        .open_with(Hierarchy::good().whole(scene.folder.path()))
        .unwrap();
    let near = |events: &[AuthorityEvent]| {
        let is_near = |event: &&AuthorityEvent| matches!(event, AuthorityEvent::NearExpiry(_));
        events.iter().filter(is_near).count()
    };
    assert_eq!(near(&turn(&ca, 2 * TURN).await), 0);
    scene.clock.set(start() + 25 * DAY);
    assert_eq!(near(&turn(&ca, 5 * TURN).await), 1);
    // It is not rotated.
    assert_eq!(slots(&ca, AuthorityKind::X509), [Slot::Active]);
}
