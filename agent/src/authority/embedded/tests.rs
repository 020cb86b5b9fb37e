use super::{EmbeddedCa, REMOVAL_DELAY, TURN};
use crate::{
    authority::{
        Authority as _, AuthorityConfig, AuthorityError, AuthorityEvent, AuthorityInfo,
        AuthorityKind, JwtRequest, KeyDirectoryError, OperatorCa, SignedToken, SignedX509, Slot,
        TraceClaims, TrustBundle, WitRequest, X509Request, pem,
    },
    clock::{Clock as _, ManualClock, SharedClock},
    svid::{PrivateKey, wit, x509},
    testing,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use spiffe::{SpiffeId, TrustDomain};
use std::{
    collections::HashSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const OVERLAP: Duration = Duration::from_secs(15 * 60);

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn config() -> AuthorityConfig {
    AuthorityConfig {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        x509_ca_ttl: 90 * DAY,
        jwt_key_ttl: 30 * DAY,
        wit_key_ttl: 30 * DAY,
        refresh_hint: Duration::from_secs(5 * 60),
        jwks_cache: Duration::from_secs(5 * 60),
        max_x509_ttl: DAY,
        max_jwt_ttl: HOUR,
        issuer: None,
        operator: None,
    }
}

/// A data directory with a CA in it, and the clock that it sees.
struct Scene {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(start())),
        }
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn open(&self) -> EmbeddedCa {
        self.open_with(config()).unwrap()
    }

    fn open_with(&self, config: AuthorityConfig) -> Result<EmbeddedCa, AuthorityError> {
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        EmbeddedCa::open(&self.keys(), config, clock)
    }

    /// The names of the key files.
    fn key_files(&self) -> HashSet<String> {
        fs::read_dir(self.keys())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "authorities.json")
            .collect()
    }
}

fn slots(ca: &EmbeddedCa, kind: AuthorityKind) -> Vec<Slot> {
    let of_kind = |info: AuthorityInfo| (info.kind == kind).then_some(info.slot);
    ca.authorities().into_iter().filter_map(of_kind).collect()
}

fn active(ca: &EmbeddedCa, kind: AuthorityKind) -> AuthorityInfo {
    ca.authorities()
        .into_iter()
        .find(|info| info.kind == kind && info.slot == Slot::Active)
        .unwrap()
}

fn bundle(ca: &EmbeddedCa) -> Arc<TrustBundle> {
    Arc::clone(&ca.bundle().borrow())
}

fn files() -> SpiffeId {
    SpiffeId::new("spiffe://example.org/mcp/client/files").unwrap()
}

fn sign_x509(ca: &EmbeddedCa, lifetime: Duration) -> Result<SignedX509, AuthorityError> {
    let key = PrivateKey::generate()?;
    ca.sign_x509(X509Request {
        spiffe_id: &files(),
        dns_names: &[],
        public_key: key.public_key(),
        lifetime,
    })
    .now_or_never()
    .unwrap()
}

fn sign_jwt(ca: &EmbeddedCa, lifetime: Duration) -> Result<SignedToken, AuthorityError> {
    ca.sign_jwt(JwtRequest {
        spiffe_id: &files(),
        audiences: &["a".to_owned()],
        lifetime,
        trace: TraceClaims::default(),
    })
    .now_or_never()
    .unwrap()
}

fn sign_wit(ca: &EmbeddedCa, lifetime: Duration) -> Result<SignedToken, AuthorityError> {
    let key = PrivateKey::generate()?;
    ca.sign_wit(WitRequest {
        spiffe_id: &files(),
        public_key: key.public_key(),
        lifetime,
        trace: TraceClaims::default(),
    })
    .now_or_never()
    .unwrap()
}

fn validate_x509(bundle: &TrustBundle, chain: &[u8], at: SystemTime) -> x509::X509Svid {
    x509::validate(chain, bundle.x509_der(), bundle.trust_domain(), at).unwrap()
}

/// Lets `ca` rotate for a while of running time and gives what it told.
async fn turn(ca: &EmbeddedCa, running: Duration) -> Vec<AuthorityEvent> {
    let told = Mutex::new(Vec::new());
    let run = ca.run(|event| told.lock().push(event));
    tokio::time::timeout(running, run).await.unwrap_err();
    told.into_inner()
}

#[test]
fn every_kind_signs_and_its_bundle_verifies() {
    let scene = Scene::new();
    let ca = scene.open();
    let bundle = bundle(&ca);

    let signed = sign_x509(&ca, HOUR).unwrap();
    let svid = validate_x509(&bundle, &signed.chain, start());
    assert_eq!(svid.spiffe_id, files());
    assert_eq!(svid.serial_hex, signed.serial_hex);
    assert_eq!(svid.not_before, start() - Duration::from_secs(10));
    assert_eq!(
        (svid.not_before, svid.not_after),
        (signed.not_before, signed.not_after)
    );
    assert_eq!(signed.not_after, start() + HOUR);
    assert_eq!(signed.key_id, active(&ca, AuthorityKind::X509).key_id);

    let jwt = sign_jwt(&ca, HOUR).unwrap();
    let svid = bundle
        .validate_jwt(jwt.token.expose(), "a", start())
        .unwrap();
    assert_eq!(svid.jti, Some(jwt.jti));
    assert_eq!(svid.expires_at, jwt.not_after);
    assert!(bundle.find_jwt_key(&jwt.key_id).is_some());

    let wit = sign_wit(&ca, HOUR).unwrap();
    let svid = wit::validate(
        wit.token.expose(),
        bundle.wit_keys(),
        bundle.trust_domain(),
        start(),
    );
    assert_eq!(svid.unwrap().jti, Some(wit.jti));
}

#[test]
fn one_key_never_signs_two_kinds() {
    let scene = Scene::new();
    let ca = scene.open();
    let bundle = bundle(&ca);
    let ids: HashSet<_> = ca.authorities().into_iter().map(|a| a.key_id).collect();
    assert_eq!(ids.len(), 3);
    let jwt = sign_jwt(&ca, HOUR).unwrap();
    assert!(bundle.wit_keys().find(&jwt.key_id).is_none());
    let files: HashSet<_> = scene
        .key_files()
        .iter()
        .map(|name| fs::read(scene.keys().join(name)).unwrap())
        .collect();
    assert_eq!(files.len(), 3);
}

#[test]
fn jwt_svids_alone_name_the_issuer() {
    let scene = Scene::new();
    let issuer = Some("https://id.example.org".to_owned());
    let ca = scene
        .open_with(AuthorityConfig { issuer, ..config() })
        .unwrap();
    let claims = |token: &SignedToken| {
        let payload = token.token.expose().split('.').nth(1).unwrap().to_owned();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
        serde_json::from_slice::<serde_json::Value>(&payload).unwrap()
    };
    let jwt = sign_jwt(&ca, HOUR).unwrap();
    assert_eq!(claims(&jwt)["iss"], "https://id.example.org");
    let now = scene.clock.now();
    let accepted = bundle(&ca).validate_jwt(jwt.token.expose(), "a", now);
    assert_eq!(accepted.unwrap().spiffe_id, files());
    // WIT-SVID.md, section 3.7.
    let wit = sign_wit(&ca, HOUR).unwrap();
    assert!(claims(&wit).get("iss").is_none());
}

#[test]
fn foreign_identities_and_those_without_a_path_are_refused() {
    let scene = Scene::new();
    let ca = scene.open();
    let sign = |id: &str| {
        ca.sign_jwt(JwtRequest {
            spiffe_id: &SpiffeId::new(id).unwrap(),
            audiences: &[],
            lifetime: HOUR,
            trace: TraceClaims::default(),
        })
        .now_or_never()
        .unwrap()
        .unwrap_err()
    };
    assert!(matches!(
        sign("spiffe://other.org/a"),
        AuthorityError::ForeignTrustDomain(_)
    ));
    assert!(matches!(
        sign("spiffe://example.org"),
        AuthorityError::NoPath(_)
    ));
    assert!(matches!(
        sign("spiffe://example.org/a"),
        AuthorityError::NoAudience
    ));
}

#[test]
fn lifetimes_are_cut_to_the_limit_and_to_the_authority() {
    let scene = Scene::new();
    let ca = scene.open();
    assert_eq!(sign_x509(&ca, 9 * DAY).unwrap().not_after, start() + DAY);
    assert_eq!(sign_wit(&ca, 9 * DAY).unwrap().not_after, start() + DAY);
    assert_eq!(sign_jwt(&ca, 9 * DAY).unwrap().not_after, start() + HOUR);

    scene.clock.set(start() + 90 * DAY - HOUR);
    let end = active(&ca, AuthorityKind::X509).not_after;
    assert_eq!(end, start() + 90 * DAY);
    assert_eq!(sign_x509(&ca, DAY).unwrap().not_after, end);
    // The rotation has not run: there is nothing to sign with, and that is said.
    assert!(matches!(
        sign_jwt(&ca, HOUR),
        Err(AuthorityError::NoneValid(AuthorityKind::Jwt))
    ));
    scene.clock.set(end);
    assert!(matches!(
        sign_x509(&ca, DAY),
        Err(AuthorityError::NoneValid(AuthorityKind::X509))
    ));
}

#[test]
fn everything_survives_a_restart() {
    let scene = Scene::new();
    let (before, signed) = {
        let ca = scene.open();
        let signed = (sign_x509(&ca, HOUR).unwrap(), sign_jwt(&ca, HOUR).unwrap());
        (bundle(&ca), signed)
    };
    scene.clock.advance(HOUR / 2);
    let after = bundle(&scene.open());
    assert_eq!(after.spiffe_json(), before.spiffe_json());
    assert_eq!(after.sequence(), 1);
    validate_x509(&after, &signed.0.chain, start() + HOUR / 2);
    after
        .validate_jwt(signed.1.token.expose(), "a", start() + HOUR / 2)
        .unwrap();
}

#[test]
fn another_refresh_hint_is_another_bundle() {
    let scene = Scene::new();
    scene.open();
    let mut config = config();
    config.refresh_hint = Duration::from_secs(60);
    assert_eq!(bundle(&scene.open_with(config).unwrap()).sequence(), 2);
}

#[test]
fn another_trust_domain_is_refused() {
    let scene = Scene::new();
    scene.open();
    let mut config = config();
    config.trust_domain = TrustDomain::new("other.org").unwrap();
    let error = scene.open_with(config).unwrap_err();
    assert!(matches!(error, AuthorityError::TrustDomainChanged { .. }));
}

#[test]
fn lifetimes_that_leave_no_time_to_rotate_are_refused() {
    let scene = Scene::new();
    let mut config = config();
    config.wit_key_ttl = 2 * OVERLAP;
    let error = scene.open_with(config).unwrap_err();
    assert!(matches!(
        error,
        AuthorityError::Lifetime {
            kind: AuthorityKind::Wit,
            ..
        }
    ));
}

#[test]
fn keys_that_others_could_read_are_refused() {
    let scene = Scene::new();
    scene.open();
    for name in scene.key_files() {
        let path = scene.keys().join(name);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            scene.open_with(config()),
            Err(AuthorityError::Directory(KeyDirectoryError::Wide { .. }))
        ));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(scene.keys(), Permissions::from_mode(0o711)).unwrap();
    assert!(matches!(
        scene.open_with(config()),
        Err(AuthorityError::Directory(KeyDirectoryError::Wide { .. }))
    ));
}

#[test]
fn a_key_that_is_missing_or_another_is_refused() {
    for name in ["x509-1.p8", "jwt-2.p8"] {
        let scene = Scene::new();
        scene.open();
        let path = scene.keys().join(name);
        fs::write(&path, b"no key").unwrap();
        let error = scene.open_with(config()).unwrap_err();
        assert!(matches!(error, AuthorityError::OtherKey(_)), "{error}");
        fs::remove_file(&path).unwrap();
        let error = scene.open_with(config()).unwrap_err();
        assert!(matches!(error, AuthorityError::OtherKey(_)), "{error}");
    }
    // A root's key that is somebody else's.
    let scene = Scene::new();
    scene.open();
    let other = PrivateKey::generate().unwrap();
    fs::write(scene.keys().join("x509-1.p8"), other.expose_pkcs8()).unwrap();
    let error = scene.open_with(config()).unwrap_err();
    assert!(matches!(error, AuthorityError::OtherKey(_)), "{error}");
}

#[test]
fn a_lost_or_broken_state_is_not_replaced() {
    let scene = Scene::new();
    scene.open();
    let path = scene.keys().join("authorities.json");
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        "",
        "{}",
        &good.replace("\"version\":1", "\"version\":2"),
        &good.replacen('{', "{\"more\":1,", 1),
        good.strip_suffix('}').unwrap(),
    ] {
        fs::write(&path, bad).unwrap();
        let error = scene.open_with(config()).unwrap_err();
        assert!(matches!(error, AuthorityError::State { .. }), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let error = scene.open_with(config()).unwrap_err();
    assert!(matches!(error, AuthorityError::StateMissing(_)), "{error}");
    fs::write(&path, good).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    scene.open();
}

#[test]
fn a_start_that_was_killed_leaves_nothing_in_the_way() {
    let scene = Scene::new();
    let first = bundle(&scene.open());
    // A key was written, and the state that names it was not.
    let key = PrivateKey::generate().unwrap();
    let orphan = scene.keys().join("x509-9.p8");
    fs::write(&orphan, key.expose_pkcs8()).unwrap();
    fs::write(scene.keys().join(".tmp-authorities.json"), b"{").unwrap();
    let second = bundle(&scene.open());
    assert_eq!(first.spiffe_json(), second.spiffe_json());
    assert_eq!(scene.key_files().len(), 3);
    assert!(!orphan.exists());
}

#[test]
fn the_very_first_start_may_be_killed_between_its_writes() {
    let scene = Scene::new();
    scene.open();
    // As if it had been killed after the first key: an empty state and a key beside it.
    let path = scene.keys().join("authorities.json");
    let state = fs::read_to_string(&path).unwrap();
    let empty = serde_json::json!({"active": 0, "entries": []});
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    for ring in ["x509", "jwt", "wit"] {
        state[ring] = empty.clone();
    }
    state["published"] = "".into();
    state["sequence"] = 0.into();
    fs::write(&path, state.to_string()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(bundle(&scene.open()).sequence(), 1);
    assert_eq!(scene.key_files().len(), 3);
}

fn openssl(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn write_pem(path: &Path, certificates: &[&[u8]]) {
    let text: String = certificates
        .iter()
        .map(|der| pem::certificate(der))
        .collect();
    fs::write(path, text).unwrap();
}

#[test]
fn openssl_verifies_a_leaf_against_the_published_bundle() {
    if !testing::has_openssl("openssl_verifies_a_leaf_against_the_published_bundle") {
        return;
    }
    let scene = Scene::new();
    let ca = scene.open();
    let signed = sign_x509(&ca, HOUR).unwrap();
    let folder = scene.folder.path();
    fs::write(folder.join("bundle.pem"), bundle(&ca).x509_pem()).unwrap();
    write_pem(&folder.join("leaf.pem"), &[&signed.chain]);
    let time = (start() - Duration::from_secs(9))
        .duration_since(UNIX_EPOCH)
        .unwrap();
    let time = time.as_secs().to_string();
    for purpose in ["sslclient", "sslserver"] {
        openssl(
            &[
                "verify",
                "-x509_strict",
                "-attime",
                &time,
                "-purpose",
                purpose,
                "-CAfile",
                "bundle.pem",
                "leaf.pem",
            ],
            folder,
        );
    }
    let serial = openssl(&["x509", "-noout", "-serial", "-in", "leaf.pem"], folder);
    assert_eq!(
        serial.trim().to_lowercase(),
        format!("serial={}", signed.serial_hex)
    );
}

mod operator;
mod rotation;
