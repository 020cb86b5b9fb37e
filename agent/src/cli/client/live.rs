//! The processes that hold a client's identity: `symbolon client show NAME --live`.

use crate::cli::{
    moment::{exact, relative},
    output::{Look, Table, count, or_dash, some},
};
use serde::Serialize;
use symbolon_proto::admin::{HeldCredential, Holder, ListHoldersResponse};

/// Who holds the identity now; `agent/doc/cli.md` documents the fields.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LiveView {
    total: u64,
    holders: Vec<HolderView>,
}

#[derive(Clone, Debug, Serialize)]
struct HolderView {
    pid: u32,
    uid: u32,
    gid: u32,
    executable: Option<String>,
    executable_sha256: Option<String>,
    attestation_id: String,
    since: Option<String>,
    credentials: Vec<CredentialView>,
    #[serde(skip)]
    since_seconds: i64,
}

#[derive(Clone, Debug, Serialize)]
struct CredentialView {
    kind: String,
    id: String,
    issued_at: Option<String>,
    expires_at: Option<String>,
    #[serde(skip)]
    expires: i64,
}

impl From<ListHoldersResponse> for LiveView {
    fn from(live: ListHoldersResponse) -> Self {
        Self {
            total: live.total,
            holders: live.holders.into_iter().map(HolderView::from).collect(),
        }
    }
}

impl From<Holder> for HolderView {
    fn from(holder: Holder) -> Self {
        let credentials = holder.credentials.into_iter();
        Self {
            pid: holder.pid,
            uid: holder.uid,
            gid: holder.gid,
            executable: some(holder.executable),
            executable_sha256: some(holder.executable_sha256),
            attestation_id: holder.attestation_id,
            since: exact(holder.since),
            credentials: credentials.map(CredentialView::from).collect(),
            since_seconds: holder.since,
        }
    }
}

impl From<HeldCredential> for CredentialView {
    fn from(credential: HeldCredential) -> Self {
        Self {
            kind: credential.kind,
            id: credential.id,
            issued_at: exact(credential.issued_at),
            expires_at: exact(credential.expires_at),
            expires: credential.expires_at,
        }
    }
}

impl LiveView {
    /// A table for a reader, below the client.
    pub(super) fn table(&self, look: &Look) -> String {
        if self.holders.is_empty() {
            return "\nNo process holds its identity now.\n".to_owned();
        }
        let mut table = Table::new(["PID", "UID", "PROGRAM", "SINCE", "ENDS", "ATTESTATION"]);
        for holder in &self.holders {
            let ends = holder.credentials.iter().map(|credential| {
                let kind = credential.kind.trim_end_matches("-svid");
                format!("{kind} {}", relative(credential.expires, look.now))
            });
            let ends: Vec<_> = ends.collect();
            table.row([
                holder.pid.to_string(),
                holder.uid.to_string(),
                or_dash(holder.executable.as_deref().unwrap_or_default()).to_owned(),
                relative(holder.since_seconds, look.now),
                ends.join(", "),
                holder.attestation_id.clone(),
            ]);
        }
        let shown = u64::try_from(self.holders.len()).unwrap_or(u64::MAX);
        let more = match self.total.saturating_sub(shown) {
            0 => String::new(),
            more => format!(
                "{} not shown.\n",
                count(more, "process is", "processes are")
            ),
        };
        format!("\n{}{more}", table.render(look.width))
    }
}
