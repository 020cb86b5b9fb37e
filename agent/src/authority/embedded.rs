//! The embedded CA: keys in a directory, rotated by the clock.
//!
//! Signing takes a snapshot and never waits. One writer, [`EmbeddedCa::run`],
//! rotates: new keys are written, then the state that names them, then the
//! bundle is published, then they sign. If a step fails, everything is as
//! before, and it is tried again at the next turn.
//!
//! The wall clock is read again at every turn, and nothing is removed on its
//! word alone: what seems to have expired goes only after it has seemed so for
//! [`REMOVAL_DELAY`] of running time, so that a clock that jumps for a moment
//! costs a new authority and no outstanding SVID.

use super::{
    Authority, AuthorityConfig, AuthorityError, AuthorityEvent, AuthorityInfo, AuthorityKind,
    JwtRequest, SignedToken, SignedX509, Slot, TrustBundle, WitRequest, X509Request,
    draft::Name,
    vault::{Signers, Vault},
    whole_seconds,
};
use crate::{
    clock::SharedClock,
    svid::{fresh_id, jwt, wit},
};
use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use parking_lot::Mutex;
use spiffe::SpiffeId;
use std::{
    collections::BTreeMap,
    fmt::{self, Debug, Formatter},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, time::Instant};

/// How often the wall clock is read again.
const TURN: Duration = Duration::from_secs(10);

/// For how long an authority has to seem expired before it is removed.
const REMOVAL_DELAY: Duration = Duration::from_secs(10 * 60);

/// A CA whose keys lie in a directory of this machine.
pub struct EmbeddedCa(Arc<Inner>);

struct Inner {
    config: AuthorityConfig,
    clock: SharedClock,
    writer: Mutex<Writer>,
    signers: ArcSwap<Signers>,
    bundle: watch::Sender<Arc<TrustBundle>>,
}

struct Writer {
    vault: Vault,
    /// Since when an authority has seemed to be of no use.
    idle_since: BTreeMap<Name, Instant>,
    /// What has happened and was not told yet.
    events: Vec<AuthorityEvent>,
    /// Whether the operator was told that the CA has to be renewed.
    told_near_expiry: bool,
}

impl EmbeddedCa {
    /// Opens the key directory and brings its authorities up to date. This reads and writes files
    /// and waits for them.
    ///
    /// # Errors
    /// Every [`AuthorityError`] but those of callers: a directory or file that others can use,
    /// another trust domain, a lost state or key, an operator's CA that does not hold up.
    pub fn open(
        directory: &Path,
        config: AuthorityConfig,
        clock: SharedClock,
    ) -> Result<Self, AuthorityError> {
        check_lifetimes(&config)?;
        let now = clock.now();
        let mut vault = Vault::open(directory, config.clone())?;
        let mut draft = vault.draft();
        let before = draft.authorities();
        vault.adopt_operator(&mut draft, now)?;
        vault.advance(&mut draft, now)?;
        let early = draft.early().to_vec();
        let (bundle, signers) = vault.commit(draft)?;
        let events = events(&before, &signers.authorities, &early);
        Ok(Self(Arc::new(Inner {
            config,
            clock,
            writer: Mutex::new(Writer {
                vault,
                idle_since: BTreeMap::new(),
                events,
                told_near_expiry: false,
            }),
            signers: ArcSwap::from_pointee(signers),
            bundle: watch::Sender::new(Arc::new(bundle)),
        })))
    }

    /// Every authority, prepared, active and retired.
    #[must_use]
    pub fn authorities(&self) -> Vec<AuthorityInfo> {
        self.0.signers.load().authorities.clone()
    }

    /// Rotates for ever and tells what happens, the opening included. To be run once.
    pub async fn run(&self, on_event: impl Fn(AuthorityEvent)) {
        loop {
            self.0.take_events().into_iter().for_each(&on_event);
            tokio::time::sleep(TURN).await;
            if !self.0.is_due() {
                continue;
            }
            let inner = Arc::clone(&self.0);
            let rotation = tokio::task::spawn_blocking(move || inner.rotate()).await;
            if let Err(error) = rotation.map_err(AuthorityError::from).flatten() {
                on_event(AuthorityEvent::Failed(Arc::new(error)));
            }
        }
    }
}

impl Inner {
    /// Whether a rotation has something to do. It reads no file.
    fn is_due(&self) -> bool {
        let now = self.clock.now();
        let mut writer = self.writer.lock();
        let removable = writer.vault.removable(now);
        !writer.idle(&removable).is_empty() || writer.vault.is_due(now)
    }

    /// What has happened since it was called last.
    fn take_events(&self) -> Vec<AuthorityEvent> {
        let mut writer = self.writer.lock();
        let mut events = std::mem::take(&mut writer.events);
        if !writer.told_near_expiry {
            let warning = near_expiry(&self.signers.load().authorities, self.clock.now());
            writer.told_near_expiry = warning.is_some();
            events.extend(warning);
        }
        events
    }

    /// Does what is due. It writes files and waits for them.
    fn rotate(&self) -> Result<(), AuthorityError> {
        let mut writer = self.writer.lock();
        self.rotate_with(&mut writer)
            .inspect_err(|_error| writer.vault.sweep())
    }

    fn rotate_with(&self, writer: &mut Writer) -> Result<(), AuthorityError> {
        let now = self.clock.now();
        let mut draft = writer.vault.draft();
        let before = draft.authorities();
        writer.vault.advance(&mut draft, now)?;
        let removable = writer.vault.removable(now);
        for name in writer.idle(&removable) {
            draft.remove(name);
        }
        let early = draft.early().to_vec();
        let (bundle, signers) = writer.vault.commit(draft)?;
        let events = events(&before, &signers.authorities, &early);
        writer.events.extend(events);
        // Published first: nobody may meet a credential before its authority.
        if bundle.sequence() != self.bundle.borrow().sequence() {
            self.bundle.send_replace(Arc::new(bundle));
        }
        self.signers.store(Arc::new(signers));
        Ok(())
    }

    fn check_subject(&self, spiffe_id: &SpiffeId) -> Result<(), AuthorityError> {
        if !spiffe_id.is_member_of(&self.config.trust_domain) {
            return Err(AuthorityError::ForeignTrustDomain(spiffe_id.clone()));
        }
        // Leaf SPIFFE IDs have a path (X509-SVID.md, section 3.1); it holds for all our SVIDs.
        if spiffe_id.path().is_empty() {
            return Err(AuthorityError::NoPath(spiffe_id.clone()));
        }
        Ok(())
    }

    fn sign_x509(&self, request: &X509Request<'_>) -> Result<SignedX509, AuthorityError> {
        self.check_subject(request.spiffe_id)?;
        self.signers
            .load()
            .x509
            .sign(request, self.config.max_x509_ttl, self.clock.now())
    }

    fn sign_jwt(&self, request: &JwtRequest<'_>) -> Result<SignedToken, AuthorityError> {
        self.check_subject(request.spiffe_id)?;
        // JWT-SVID.md, section 3.2.
        if request.audiences.is_empty() {
            return Err(AuthorityError::NoAudience);
        }
        let signers = self.signers.load();
        let (window, signer) = &signers.jwt;
        let now = self.clock.now();
        let not_after = window
            .cut(now, request.lifetime.min(self.config.max_jwt_ttl))
            .ok_or(AuthorityError::NoneValid(AuthorityKind::Jwt))?;
        let jti = fresh_id()?;
        let token = signer.sign(&jwt::Claims {
            spiffe_id: request.spiffe_id,
            audiences: request.audiences,
            issued_at: whole_seconds(now),
            expires_at: not_after,
            jti: &jti,
            attestation_id: request.trace.attestation_id,
            nhi_version: request.trace.nhi_version,
            client_id: request.trace.client_id,
            issuer: self.config.issuer.as_deref(),
        })?;
        Ok(SignedToken {
            token,
            jti,
            not_after,
            key_id: Arc::clone(signer.key_id()),
        })
    }

    fn sign_wit(&self, request: &WitRequest<'_>) -> Result<SignedToken, AuthorityError> {
        self.check_subject(request.spiffe_id)?;
        let signers = self.signers.load();
        let (window, signer) = &signers.wit;
        let now = self.clock.now();
        let not_after = window
            .cut(now, request.lifetime.min(self.config.max_x509_ttl))
            .ok_or(AuthorityError::NoneValid(AuthorityKind::Wit))?;
        let jti = fresh_id()?;
        let token = signer.sign(&wit::Claims {
            spiffe_id: request.spiffe_id,
            public_key: request.public_key,
            issued_at: whole_seconds(now),
            expires_at: not_after,
            jti: &jti,
            attestation_id: request.trace.attestation_id,
            nhi_version: request.trace.nhi_version,
        })?;
        Ok(SignedToken {
            token,
            jti,
            not_after,
            key_id: Arc::clone(signer.key_id()),
        })
    }
}

impl Writer {
    /// Those of `removable` that have been so for long enough.
    fn idle(&mut self, removable: &[Name]) -> Vec<Name> {
        let now = Instant::now();
        self.idle_since.retain(|name, _| removable.contains(name));
        removable
            .iter()
            .copied()
            .filter(|name| {
                let since = *self.idle_since.entry(*name).or_insert(now);
                now.duration_since(since) >= REMOVAL_DELAY
            })
            .collect()
    }
}

impl Authority for EmbeddedCa {
    fn sign_x509<'a>(
        &'a self,
        request: X509Request<'a>,
    ) -> BoxFuture<'a, Result<SignedX509, AuthorityError>> {
        ready(self.0.sign_x509(&request)).boxed()
    }

    fn sign_jwt<'a>(
        &'a self,
        request: JwtRequest<'a>,
    ) -> BoxFuture<'a, Result<SignedToken, AuthorityError>> {
        ready(self.0.sign_jwt(&request)).boxed()
    }

    fn sign_wit<'a>(
        &'a self,
        request: WitRequest<'a>,
    ) -> BoxFuture<'a, Result<SignedToken, AuthorityError>> {
        ready(self.0.sign_wit(&request)).boxed()
    }

    fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.0.bundle.subscribe()
    }
}

impl Debug for EmbeddedCa {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedCa")
            .field(&self.0.config.trust_domain)
            .finish()
    }
}

/// An authority has to be prepared at half its life and ripe before its end.
fn check_lifetimes(config: &AuthorityConfig) -> Result<(), AuthorityError> {
    let least = config
        .overlap()
        .saturating_add(TURN.saturating_mul(2))
        .saturating_mul(2);
    AuthorityKind::ALL
        .into_iter()
        .find(|kind| config.ttl(*kind) < least)
        .map_or(Ok(()), |kind| Err(AuthorityError::Lifetime { kind, least }))
}

/// What changed between two lists of authorities.
fn events(
    before: &[AuthorityInfo],
    after: &[AuthorityInfo],
    early: &[Arc<str>],
) -> Vec<AuthorityEvent> {
    let find = |list: &[AuthorityInfo], wanted: &AuthorityInfo| {
        let same =
            |info: &&AuthorityInfo| (info.kind, &info.key_id) == (wanted.kind, &wanted.key_id);
        list.iter().find(same).map(|info| info.slot)
    };
    let changed = after
        .iter()
        .filter(|info| find(before, info) != Some(info.slot))
        .cloned()
        .map(|info| match info.slot {
            Slot::Prepared => AuthorityEvent::Prepared(info),
            Slot::Active => AuthorityEvent::Activated {
                early: early.contains(&info.key_id),
                authority: info,
            },
            Slot::Retired => AuthorityEvent::Retired(info),
        });
    let removed = before
        .iter()
        .filter(|info| find(after, info).is_none())
        .cloned()
        .map(AuthorityEvent::Removed);
    changed.chain(removed).collect()
}

/// Operators renew their CAs themselves, and have to be told in time.
fn near_expiry(authorities: &[AuthorityInfo], now: SystemTime) -> Option<AuthorityEvent> {
    authorities
        .iter()
        .filter(|info| info.operator_supplied && info.slot == Slot::Active)
        .find(|info| {
            let life = info.not_after.duration_since(info.not_before);
            let left = info.not_after.duration_since(now);
            left.unwrap_or_default() < life.unwrap_or_default() / 3
        })
        .cloned()
        .map(AuthorityEvent::NearExpiry)
}

#[cfg(test)]
mod tests;
