use super::{CertificateError, CertificateFiles, Certificates, OwnSvid};
use crate::{
    authority::Authority,
    clock::{Clock as _, SharedClock},
    svid::x509,
    telemetry::IdentityMetrics,
    workloads::testing::{HOUR, Scene, StageAuthority, until},
};
use rcgen::{CertificateParams, KeyPair};
use spiffe::SpiffeId;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, atomic::Ordering},
};
use tempfile::TempDir;
use tokio::sync::Notify;

/// A certificate and its key, in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["id.example.org".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn files((certificate, key): &(String, String)) -> (TempDir, CertificateFiles) {
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles {
        certificate: folder.path().join("id.pem"),
        key: folder.path().join("id-key.pem"),
    };
    write(&files.certificate, certificate, 0o644);
    write(&files.key, key, 0o600);
    (folder, files)
}

#[test]
fn a_certificate_and_its_key_are_taken() {
    let (_folder, files) = files(&pair());
    assert_eq!(files.load().unwrap().cert.len(), 1);
    // A group for those who renew and read keys is common.
    fs::set_permissions(&files.key, Permissions::from_mode(0o640)).unwrap();
    files.load().unwrap();
}

#[test]
fn what_does_not_hold_up_is_refused() {
    let good = pair();
    let (folder, files) = files(&good);
    for mode in [0o604, 0o602, 0o620, 0o666] {
        fs::set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(files.load(), Err(CertificateError::Wide { .. })));
    }
    write(&files.key, &pair().1, 0o600);
    assert!(matches!(files.load(), Err(CertificateError::Tls(_))));
    for nothing in ["", "no PEM", &good.0, "-----BEGIN PRIVATE KEY-----\nAAAA"] {
        write(&files.key, nothing, 0o600);
        assert!(
            matches!(files.load(), Err(CertificateError::NotPem(_))),
            "{nothing}"
        );
    }
    write(&files.key, &good.1, 0o600);
    for nothing in ["", "no PEM", &good.1] {
        write(&files.certificate, nothing, 0o644);
        assert!(
            matches!(files.load(), Err(CertificateError::NotPem(_))),
            "{nothing}"
        );
    }
    write(&files.certificate, &"a".repeat(300 * 1024), 0o644);
    assert!(matches!(files.load(), Err(CertificateError::NotAFile(_))));
    let folder = CertificateFiles {
        certificate: folder.path().to_owned(),
        ..files.clone()
    };
    assert!(matches!(folder.load(), Err(CertificateError::NotAFile(_))));
    fs::remove_file(&files.certificate).unwrap();
    assert!(matches!(files.load(), Err(CertificateError::Io { .. })));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    let first = pair();
    let (_folder, files) = files(&first);
    let metrics = IdentityMetrics::default();
    let certificates = Certificates::new(files.load().unwrap(), metrics.clone());
    assert!(metrics.certificate_not_after.get() > 0);
    let shown = || certificates.current.load().cert.clone();
    let begun = shown();
    let reload = Arc::new(Notify::new());
    let keep = files
        .clone()
        .keep(Arc::clone(&certificates), Arc::clone(&reload));
    let operator = async {
        // The key of another: renewed by halves.
        let next = pair();
        write(&files.key, &next.1, 0o600);
        reload.notify_one();
        // What is shown is told once the second half is there.
        write(&files.certificate, &next.0, 0o644);
        until(|| {
            reload.notify_one();
            shown() != begun
        })
        .await;
    };
    tokio::select! {
        () = keep => panic!("it ended"),
        () = operator => {}
    }
}

fn own(scene: &Scene) -> OwnSvid {
    let authority: Arc<dyn Authority> = Arc::<StageAuthority>::clone(&scene.authority);
    let clock: SharedClock = Arc::<crate::clock::ManualClock>::clone(&scene.clock);
    OwnSvid {
        authority,
        spiffe_id: SpiffeId::new("spiffe://example.org/symbolon/agent").unwrap(),
        dns_names: vec!["id.example.org".to_owned()],
        lifetime: HOUR,
        trail: scene.trail.clone(),
        clock,
    }
}

#[tokio::test]
async fn the_own_svid_is_of_the_trust_domain_and_recorded_first() {
    let scene = Scene::new().await;
    let (shown, renew_at) = own(&scene).issue().await.unwrap();
    let now = scene.clock.now();
    assert_eq!(renew_at, now + HOUR / 2);
    let bundle = Arc::clone(&scene.authority.bundle().borrow());
    let chain: Vec<u8> = shown.cert.iter().flat_map(|one| one.to_vec()).collect();
    let valid = x509::validate(&chain, bundle.x509_der(), bundle.trust_domain(), now).unwrap();
    assert_eq!(
        valid.spiffe_id.to_string(),
        "spiffe://example.org/symbolon/agent"
    );
    scene.close_trail().await;
    let lines = scene.lines();
    let line = lines
        .iter()
        .find(|line| line["event"] == "published")
        .unwrap();
    assert_eq!(line["credential"]["kind"], "x509-svid");
    assert_eq!(line["spiffe_id"], "spiffe://example.org/symbolon/agent");
    // Nothing is shown that is not recorded.
    assert!(matches!(
        own(&scene).issue().await,
        Err(CertificateError::Audit(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn the_own_svid_is_renewed_and_kept_where_that_fails() {
    let scene = Scene::new().await;
    let own = own(&scene);
    let (first, renew_at) = own.issue().await.unwrap();
    let certificates = Certificates::new(first, IdentityMetrics::default());
    let shown = || certificates.current.load().cert.clone();
    let begun = shown();
    let keep = own.keep(Arc::clone(&certificates), renew_at);
    let clock = async {
        scene.authority.fails.store(true, Ordering::Relaxed);
        scene.clock.advance(HOUR / 2);
        tokio::time::sleep(super::MOST_PAUSE * 2).await;
        assert_eq!(shown(), begun);
        scene.authority.fails.store(false, Ordering::Relaxed);
        // Each look lets the paused clock move.
        while shown() == begun {
            tokio::time::sleep(super::LEAST_PAUSE).await;
        }
    };
    tokio::select! {
        () = keep => panic!("it ended"),
        () = clock => {}
    }
}
