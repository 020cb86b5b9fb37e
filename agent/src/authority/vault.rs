//! The embedded CA's writer: the state on disk, the keys that it names, and what becomes of both.
//!
//! A [`Vault`] is what lies in the key directory, read and checked. A [`Draft`]
//! is what it shall become; it may have written new key files already, which
//! nothing names before [`Vault::commit`] writes the state. Dropping a draft
//! changes nothing. A generation's number is used once in a process, so a key
//! file is never written over, and files that no state names are removed when
//! the vault is opened.

use super::{
    AuthorityConfig, AuthorityError, AuthorityInfo, AuthorityKind, TrustBundle, Window,
    X509Authority,
    draft::{Draft, Name, Public, Publics},
    issuer::{CaKey, X509Signer, key_id, self_signed_root, window},
    key_directory::KeyDirectory,
    operator::{self, CheckedCa},
    schedule::{Entry, Step, Timing},
    state::State,
};
use crate::{
    clock::unix_seconds,
    svid::{
        KeyError, PrivateKey,
        jws::VerifyingKey,
        jwt, wit,
        x509::{X509Error, certificates},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The file that says which keys there are and what they do.
const STATE_FILE: &str = "authorities.json";

/// The most that the state may have: some authorities with their certificates.
const MAX_STATE_BYTES: usize = 4 * 1024 * 1024;

/// The most that a key file may have; a P-256 key in PKCS#8 has 138 bytes.
const MAX_KEY_BYTES: usize = 1024;

/// What a key file's name ends with.
const KEY_SUFFIX: &str = ".p8";

/// How far the beginning of an authority lies back. A clock that is set back after its first start,
/// by less than this, does not make it unusable.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// The key directory, read and checked.
#[derive(Debug)]
pub(super) struct Vault {
    directory: KeyDirectory,
    config: AuthorityConfig,
    state: State,
    publics: Publics,
    operator: Option<Arc<X509Signer>>,
    next_generation: u64,
}

/// What signs now, after a commit.
#[derive(Debug)]
pub(super) struct Signers {
    pub(super) x509: Arc<X509Signer>,
    pub(super) jwt: (Window, jwt::Signer),
    pub(super) wit: (Window, wit::Signer),
    pub(super) authorities: Vec<AuthorityInfo>,
}

impl Vault {
    /// Reads the key directory, which is made if it is not there.
    pub(super) fn open(path: &Path, config: AuthorityConfig) -> Result<Self, AuthorityError> {
        let directory = KeyDirectory::open(path)?;
        let state = read_state(&directory, &config)?;
        sweep(&directory, &[&state])?;
        let mut publics = Publics::new();
        for (kind, entry) in state.entries() {
            let public = read_public(&directory, kind, entry)?;
            publics.insert((kind, entry.generation), public);
        }
        let newest = state.entries().map(|(_, entry)| entry.generation).max();
        Ok(Self {
            directory,
            state,
            publics,
            operator: None,
            next_generation: newest.unwrap_or_default() + 1,
            config,
        })
    }

    /// A draft that is the vault as it stands.
    pub(super) fn draft(&self) -> Draft {
        Draft::new(self.state.clone(), self.publics.clone())
    }

    /// Whether a rotation has something to do at `now`.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        self.rotated_kinds()
            .any(|kind| self.next_step(&self.state, kind, now).is_some())
    }

    /// The authorities that nobody seems to need any more at `now`.
    pub(super) fn removable(&self, now: SystemTime) -> Vec<Name> {
        let now = unix_seconds(now);
        AuthorityKind::ALL
            .into_iter()
            .flat_map(|kind| {
                self.state
                    .ring(kind)
                    .removable(now)
                    .map(move |generation| (kind, generation))
            })
            .collect()
    }

    /// Prepares, activates and replaces what is due at `now`.
    pub(super) fn advance(
        &mut self,
        draft: &mut Draft,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        for kind in AuthorityKind::ALL {
            self.raise_longest(draft, kind);
        }
        for kind in self.rotated_kinds().collect::<Vec<_>>() {
            while let Some(step) = self.next_step(&draft.state, kind, now) {
                match step {
                    Step::Prepare => {
                        self.create(draft, kind, now)?;
                    }
                    Step::Activate { generation, early } => {
                        draft.activate(kind, generation, early, now);
                    }
                    Step::Replace => {
                        let is_first = draft.state.ring(kind).entries.is_empty();
                        let generation = self.create(draft, kind, now)?;
                        draft.activate(kind, generation, !is_first, now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets the operator's CA sign, if there is one. It is in the bundle from now on.
    pub(super) fn adopt_operator(
        &mut self,
        draft: &mut Draft,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let Some(files) = &self.config.operator else {
            return Ok(());
        };
        let CheckedCa { chain, signer } = operator::load(files, &self.config.trust_domain, now)?;
        self.operator = Some(Arc::new(signer));
        let certificates: Vec<_> = chain.iter().map(|der| STANDARD.encode(der)).collect();
        let ring = draft.state.ring_mut(AuthorityKind::X509);
        if ring
            .active()
            .is_some_and(|e| e.certificates == certificates)
        {
            return Ok(());
        }
        // The same one, taken up again, starts anew.
        ring.entries.retain(|e| e.certificates != certificates);
        let window = window(&chain)?;
        let entry = Entry {
            generation: self.take_generation(),
            published_at: unix_seconds(now),
            not_before: unix_seconds(window.not_before),
            not_after: unix_seconds(window.not_after),
            longest_svid: self.longest_svid(AuthorityKind::X509).as_secs(),
            retired_at: None,
            operator: true,
            certificates,
        };
        let public = x509_public(&chain)?;
        let generation = entry.generation;
        draft.insert(AuthorityKind::X509, entry, public);
        draft.activate(AuthorityKind::X509, generation, false, now);
        Ok(())
    }

    /// Makes a draft the truth: on disk first. What it had before is returned on failure.
    pub(super) fn commit(
        &mut self,
        mut draft: Draft,
    ) -> Result<(TrustBundle, Signers), AuthorityError> {
        let mut contents = draft.contents(&self.config);
        let published = contents.digest()?;
        if published != draft.state.published {
            // Whenever the contents change (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.1.1).
            draft.state.sequence += 1;
            draft.state.published = published;
        }
        contents.sequence = draft.state.sequence;
        let bundle = TrustBundle::new(contents)?;
        let signers = self.signers(&draft)?;
        if draft.state != self.state {
            write_state(&self.directory, &draft.state)?;
        }
        self.publics = draft.publics;
        self.state = draft.state;
        self.sweep();
        Ok((bundle, signers))
    }

    /// Removes keys that nothing names: of authorities that are gone, of rotations that failed.
    pub(super) fn sweep(&self) {
        // A write that failed may have reached the disk all the same.
        let swept = read_state(&self.directory, &self.config)
            .and_then(|written| sweep(&self.directory, &[&self.state, &written]));
        if let Err(error) = swept {
            // Harmless, and tried again at the next rotation and start.
            tracing::warn!(%error, "keys that are not needed any more could not be removed");
        }
    }

    fn rotated_kinds(&self) -> impl Iterator<Item = AuthorityKind> + use<> {
        let supplied = self.config.operator.is_some();
        AuthorityKind::ALL
            .into_iter()
            .filter(move |kind| !(supplied && *kind == AuthorityKind::X509))
    }

    fn next_step(&self, state: &State, kind: AuthorityKind, now: SystemTime) -> Option<Step> {
        let timing = Timing {
            ttl: self.config.ttl(kind),
            overlap: self.config.overlap(),
        };
        state.ring(kind).next_step(unix_seconds(now), timing)
    }

    /// A higher limit in the configuration counts for what signs from now on.
    fn raise_longest(&self, draft: &mut Draft, kind: AuthorityKind) {
        let longest = self.longest_svid(kind).as_secs();
        for entry in &mut draft.state.ring_mut(kind).entries {
            if entry.retired_at.is_none() {
                entry.longest_svid = entry.longest_svid.max(longest);
            }
        }
    }

    const fn longest_svid(&self, kind: AuthorityKind) -> Duration {
        match kind {
            AuthorityKind::X509 | AuthorityKind::Wit => self.config.max_x509_ttl,
            AuthorityKind::Jwt => self.config.max_jwt_ttl,
        }
    }

    const fn take_generation(&mut self) -> u64 {
        let generation = self.next_generation;
        self.next_generation += 1;
        generation
    }

    /// Makes an authority with a fresh key, and writes the key.
    fn create(
        &mut self,
        draft: &mut Draft,
        kind: AuthorityKind,
        now: SystemTime,
    ) -> Result<u64, AuthorityError> {
        let generation = self.take_generation();
        let key = PrivateKey::generate()?;
        let not_before = now.checked_sub(BACKDATE).unwrap_or(now);
        let not_after = now.checked_add(self.config.ttl(kind)).unwrap_or(now);
        let mut certificates = Vec::new();
        let public = if kind == AuthorityKind::X509 {
            let ca = CaKey::from_der(key.expose_pkcs8()).ok_or(KeyError::Library)?;
            let root = self_signed_root(&ca, &self.config.trust_domain, not_before, not_after)?;
            certificates.push(STANDARD.encode(&root));
            x509_public(&[root.into()])?
        } else {
            Public::Token(VerifyingKey::new(*key.public_key())?)
        };
        self.directory
            .write(&key_file(kind, generation), key.expose_pkcs8())?;
        let entry = Entry {
            generation,
            published_at: unix_seconds(now),
            not_before: unix_seconds(not_before),
            not_after: unix_seconds(not_after),
            longest_svid: self.longest_svid(kind).as_secs(),
            retired_at: None,
            operator: false,
            certificates,
        };
        draft.insert(kind, entry, public);
        Ok(generation)
    }

    /// What the active authorities of `draft` sign with.
    fn signers(&self, draft: &Draft) -> Result<Signers, AuthorityError> {
        let active = |kind| {
            draft
                .state
                .ring(kind)
                .active()
                .ok_or(AuthorityError::NoneValid(kind))
        };
        let x509 = match &self.operator {
            Some(operator) => Arc::clone(operator),
            None => Arc::new(self.x509_signer(active(AuthorityKind::X509)?)?),
        };
        let jwt = active(AuthorityKind::Jwt)?;
        let wit = active(AuthorityKind::Wit)?;
        let key = |kind, entry: &Entry| read_key(&self.directory, kind, entry.generation);
        Ok(Signers {
            x509,
            jwt: (
                jwt.window(),
                jwt::Signer::new(&key(AuthorityKind::Jwt, jwt)?)?,
            ),
            wit: (
                wit.window(),
                wit::Signer::new(&key(AuthorityKind::Wit, wit)?)?,
            ),
            authorities: draft.authorities(),
        })
    }

    fn x509_signer(&self, entry: &Entry) -> Result<X509Signer, AuthorityError> {
        let key = read_key(&self.directory, AuthorityKind::X509, entry.generation)?;
        let key = CaKey::from_der(key.expose_pkcs8()).ok_or(KeyError::Library)?;
        Ok(X509Signer::new(key, &chain(entry)?)?)
    }
}

/// Removes the key files that none of `states` names.
fn sweep(directory: &KeyDirectory, states: &[&State]) -> Result<(), AuthorityError> {
    let named: Vec<_> = states
        .iter()
        .flat_map(|state| state.entries())
        .map(|(kind, entry)| key_file(kind, entry.generation))
        .collect();
    for name in directory.names()? {
        if name.ends_with(KEY_SUFFIX) && !named.contains(&name) {
            directory.remove(&name)?;
        }
    }
    Ok(())
}

fn key_file(kind: AuthorityKind, generation: u64) -> String {
    format!("{kind}-{generation}{KEY_SUFFIX}")
}

/// Reads the state; a directory without keys starts with an empty one.
fn read_state(directory: &KeyDirectory, config: &AuthorityConfig) -> Result<State, AuthorityError> {
    let path = || directory.path_of(STATE_FILE);
    let Some(json) = directory.read(STATE_FILE, MAX_STATE_BYTES)? else {
        if directory
            .names()?
            .iter()
            .any(|name| name.ends_with(KEY_SUFFIX))
        {
            return Err(AuthorityError::StateMissing(path()));
        }
        // Written before the first key is, so that keys without a state mean a loss.
        let state = State::new(config.trust_domain.to_string());
        write_state(directory, &state)?;
        return Ok(state);
    };
    let state = State::from_slice(&json).map_err(|source| AuthorityError::State {
        path: path(),
        source,
    })?;
    if state.trust_domain != config.trust_domain.as_str() {
        return Err(AuthorityError::TrustDomainChanged {
            kept: state.trust_domain,
            configured: config.trust_domain.clone(),
        });
    }
    Ok(state)
}

fn write_state(directory: &KeyDirectory, state: &State) -> Result<(), AuthorityError> {
    let json = state.to_vec().map_err(|source| AuthorityError::State {
        path: directory.path_of(STATE_FILE),
        source,
    })?;
    Ok(directory.write(STATE_FILE, &json)?)
}

fn read_key(
    directory: &KeyDirectory,
    kind: AuthorityKind,
    generation: u64,
) -> Result<PrivateKey, AuthorityError> {
    let name = key_file(kind, generation);
    let other = || AuthorityError::OtherKey(directory.path_of(&name));
    let pkcs8 = directory.read(&name, MAX_KEY_BYTES)?.ok_or_else(other)?;
    PrivateKey::from_pkcs8(&pkcs8).map_err(|_malformed| other())
}

/// The public half of an authority, after its key has been held against it.
fn read_public(
    directory: &KeyDirectory,
    kind: AuthorityKind,
    entry: &Entry,
) -> Result<Public, AuthorityError> {
    if entry.operator {
        return x509_public(&chain(entry)?);
    }
    let key = read_key(directory, kind, entry.generation)?;
    if kind != AuthorityKind::X509 {
        return Ok(Public::Token(VerifyingKey::new(*key.public_key())?));
    }
    let chain = chain(entry)?;
    let root = chain.first().map(Bytes::as_ref).unwrap_or_default();
    let fits = certificates(root)?.first().is_some_and(|certificate| {
        *certificate.public_key().subject_public_key.data == *key.public_key().point()
    });
    if !fits {
        let name = key_file(kind, entry.generation);
        return Err(AuthorityError::OtherKey(directory.path_of(&name)));
    }
    x509_public(&chain)
}

/// The last certificate is the one that verifiers trust.
fn x509_public(chain: &[Bytes]) -> Result<Public, AuthorityError> {
    let (issuing, anchor) = chain.first().zip(chain.last()).ok_or(X509Error::Empty)?;
    Ok(Public::X509 {
        authority: X509Authority::new(anchor.clone())?,
        key_id: key_id(issuing)?,
    })
}

fn chain(entry: &Entry) -> Result<Vec<Bytes>, X509Error> {
    entry
        .certificates
        .iter()
        .map(|base64| STANDARD.decode(base64).map(Bytes::from))
        .collect::<Result<_, _>>()
        .map_err(|_malformed| X509Error::Malformed)
}
