//! `symbolon client replace-key`, and the keys in what is shown of a client.

use super::{Admin, done};
use crate::cli::{
    console::Console,
    failure::Failure,
    moment::{exact, relative},
};
use clap::Args;
use serde::Serialize;
use symbolon_proto::admin::{ClientKey, ReplaceClientKeyRequest};

/// Replace the key by which authorization servers know a client
///
/// For keys that somebody else may have: all keys of the client are gone at once, published or not, and a new one signs. Servers accept the old ones until they ask for the JWKS again. Planned rotation needs no command.
/// Needs nobody's approval.
#[derive(Args, Debug)]
pub(super) struct ReplaceKeyArgs {
    /// The client's name
    name: String,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

impl ReplaceKeyArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { name, reason } = self;
        let request = ReplaceClientKeyRequest { name, reason };
        let call = admin.client.replace_client_key(request);
        let client = admin.link.ask(call).await?;
        let new = client.keys.last().map(|key| key.key_id.clone());
        let what = format!("has a new key: {}", new.unwrap_or_default());
        done(console, client, &what)
    }
}

/// A key of a client.
#[derive(Clone, Debug, Serialize)]
pub(super) struct KeyView {
    key_id: String,
    slot: String,
    published: bool,
    published_at: Option<String>,
    not_after: Option<String>,
    #[serde(skip)]
    ends: i64,
}

impl KeyView {
    pub(super) fn all(keys: Vec<ClientKey>) -> Vec<Self> {
        let view = |key: ClientKey| Self {
            key_id: key.key_id,
            slot: key.slot,
            published: key.published,
            published_at: exact(key.published_at),
            not_after: exact(key.not_after),
            ends: key.not_after,
        };
        keys.into_iter().map(view).collect()
    }

    pub(super) fn lines(keys: &[Self], now: i64) -> Vec<String> {
        keys.iter().map(|key| key.line(now)).collect()
    }

    /// `active, ends in 30d: Grk4...`
    fn line(&self, now: i64) -> String {
        let Self { key_id, slot, .. } = self;
        let withheld = if self.published { "" } else { ", withheld" };
        format!(
            "{slot}{withheld}, ends {}: {key_id}",
            relative(self.ends, now)
        )
    }
}
