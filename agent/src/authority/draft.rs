//! What the authorities shall become: a state and the public halves that belong to it.

use super::{
    AuthorityConfig, AuthorityInfo, AuthorityKind, BundleContents, X509Authority, from_seconds,
    schedule::Entry, state::State,
};
use crate::{
    clock::unix_seconds,
    svid::jws::{KeySet, VerifyingKey},
};
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

/// The public half of an authority.
#[derive(Clone, Debug)]
pub(super) enum Public {
    X509 {
        authority: X509Authority,
        key_id: Arc<str>,
    },
    Token(VerifyingKey),
}

impl Public {
    /// What names it outside.
    pub(super) const fn key_id(&self) -> &Arc<str> {
        match self {
            Self::X509 { key_id, .. } => key_id,
            Self::Token(key) => key.key_id(),
        }
    }
}

/// Which authority.
pub(super) type Name = (AuthorityKind, u64);

/// The public halves of all authorities.
pub(super) type Publics = BTreeMap<Name, Public>;

/// What a vault shall become.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) state: State,
    pub(super) publics: Publics,
    early: Vec<Arc<str>>,
}

impl Draft {
    /// A draft that changes nothing yet.
    pub(super) const fn new(state: State, publics: Publics) -> Self {
        Self {
            state,
            publics,
            early: Vec::new(),
        }
    }

    /// The authorities that were activated before they were ripe, by their key identifiers.
    pub(super) fn early(&self) -> &[Arc<str>] {
        &self.early
    }

    /// Takes an authority out.
    pub(super) fn remove(&mut self, (kind, generation): Name) {
        let ring = self.state.ring_mut(kind);
        ring.entries.retain(|entry| entry.generation != generation);
        self.publics.remove(&(kind, generation));
    }

    /// Puts a new authority in.
    pub(super) fn insert(&mut self, kind: AuthorityKind, entry: Entry, public: Public) {
        self.publics.insert((kind, entry.generation), public);
        self.state.ring_mut(kind).entries.push(entry);
    }

    /// Lets an authority sign from `now` on.
    pub(super) fn activate(
        &mut self,
        kind: AuthorityKind,
        generation: u64,
        early: bool,
        now: SystemTime,
    ) {
        let ring = self.state.ring_mut(kind);
        ring.activate(generation, unix_seconds(now));
        if early && let Some(public) = self.publics.get(&(kind, generation)) {
            self.early.push(Arc::clone(public.key_id()));
        }
    }

    /// What the bundle has in it, but for the sequence.
    pub(super) fn contents(&self, config: &AuthorityConfig) -> BundleContents {
        let publics = |wanted| {
            self.publics
                .iter()
                .filter(move |((kind, _), _)| *kind == wanted)
                .map(|(_, public)| public)
        };
        let tokens = |kind| {
            let keys = publics(kind).filter_map(|public| match public {
                Public::Token(key) => Some(key.clone()),
                Public::X509 { .. } => None,
            });
            KeySet::new(keys.collect())
        };
        BundleContents {
            trust_domain: config.trust_domain.clone(),
            sequence: 0,
            refresh_hint: config.refresh_hint,
            x509: publics(AuthorityKind::X509)
                .filter_map(|public| match public {
                    Public::X509 { authority, .. } => Some(authority.clone()),
                    Public::Token(_) => None,
                })
                .collect(),
            jwt: tokens(AuthorityKind::Jwt),
            wit: tokens(AuthorityKind::Wit),
        }
    }

    /// All authorities, for listings.
    pub(super) fn authorities(&self) -> Vec<AuthorityInfo> {
        let info = |(kind, entry): (AuthorityKind, &Entry)| {
            let public = self.publics.get(&(kind, entry.generation))?;
            Some(AuthorityInfo {
                kind,
                slot: self.state.slot(kind, entry.generation)?,
                key_id: Arc::clone(public.key_id()),
                not_before: from_seconds(entry.not_before),
                not_after: from_seconds(entry.not_after),
                operator_supplied: entry.operator,
            })
        };
        self.state.entries().filter_map(info).collect()
    }
}
