//! Which role may call what: the one table.
//!
//! [`super::AdminRoutes`] asks here before a method runs, by the path of the call,
//! so that a method without a row is refused, whoever calls it.
//! `agent/doc/operators.md` shows the same table; tests hold both against each
//! other and against the methods of the service.

use crate::operators::{
    Role::{self, Administrator, Approver, Auditor, Author, Reader, Responder},
    Roles,
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use symbolon_proto::admin::admin_server::SERVICE_NAME;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Every operator, also one without a role.
    Everybody,
    /// Whoever has one of these roles.
    Roles(&'static [Role]),
    /// Whoever has one of the first; where versions have to be approved, the call is a proposal,
    /// and whoever has one of the second may make it too.
    OrProposed(&'static [Role], &'static [Role]),
}

/// A method, and who may call it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The method's name in the service.
    pub(super) method: &'static str,
    /// Who may call it.
    pub(super) who: Who,
}

const ANY: &[Role] = &Role::ALL;
const WRITE: &[Role] = &[Author];
const APPROVE: &[Role] = &[Approver];
/// Whoever can have proposed something: an approver a resumption.
const WITHDRAW: &[Role] = &[Author, Approver];
const STOP: &[Role] = &[Responder];
const AUDIT: &[Role] = &[Auditor];
const KEEP: &[Role] = &[Administrator];
const LOOK: &[Role] = &[Reader, Author, Approver, Responder];

/// Every method, by what it is for.
pub(super) const TABLE: &[Rule] = &[
    rule("GetInfo", Who::Everybody),
    rule("GetClient", Who::Roles(ANY)),
    rule("ListClients", Who::Roles(ANY)),
    rule("GetClientHistory", Who::Roles(ANY)),
    rule("ListOwners", Who::Roles(ANY)),
    rule("ListStaleClients", Who::Roles(ANY)),
    rule("GetBundle", Who::Roles(ANY)),
    rule("LintClients", Who::Roles(LOOK)),
    rule("AttestProcess", Who::Roles(LOOK)),
    rule("ListHolders", Who::Roles(LOOK)),
    rule("RegisterClient", Who::Roles(WRITE)),
    rule("UpdateClient", Who::Roles(WRITE)),
    rule("ApplyClients", Who::Roles(WRITE)),
    rule("WithdrawClient", Who::Roles(WITHDRAW)),
    rule("RollbackClient", Who::Roles(WRITE)),
    rule("ApproveClient", Who::Roles(APPROVE)),
    rule("RejectClient", Who::Roles(APPROVE)),
    rule("ResumeClient", Who::OrProposed(APPROVE, WRITE)),
    rule("SuspendClient", Who::Roles(STOP)),
    rule("RevokeClient", Who::Roles(STOP)),
    rule("ChangeManyStates", Who::Roles(STOP)),
    rule("TailAudit", Who::Roles(AUDIT)),
    rule("QueryAudit", Who::Roles(AUDIT)),
    rule("ExportAudit", Who::Roles(AUDIT)),
    rule("TraceAudit", Who::Roles(AUDIT)),
    rule("GetAuditKey", Who::Roles(AUDIT)),
    rule("Backup", Who::Roles(KEEP)),
    rule("GetTrustDomain", Who::Roles(ANY)),
    rule("ListTrustDomains", Who::Roles(ANY)),
    rule("AddTrustDomain", Who::Roles(WRITE)),
    rule("WithdrawTrustDomain", Who::Roles(WRITE)),
    rule("ApproveTrustDomain", Who::Roles(APPROVE)),
    rule("RejectTrustDomain", Who::Roles(APPROVE)),
    rule("RemoveTrustDomain", Who::Roles(STOP)),
    rule("ReplaceClientKey", Who::Roles(STOP)),
];

const fn rule(method: &'static str, who: Who) -> Rule {
    Rule { method, who }
}

impl Who {
    /// Whether an operator with these roles may call it, where versions have to be approved or not.
    pub(super) fn includes(self, roles: Roles, approvals: bool) -> bool {
        match self {
            Self::Everybody => true,
            Self::Roles(some) => roles.has_any(some),
            Self::OrProposed(some, others) => {
                roles.has_any(some) || (approvals && roles.has_any(others))
            }
        }
    }

    /// The roles of which one is needed.
    pub(super) fn needed(self, approvals: bool) -> Roles {
        let roles = match self {
            Self::Everybody => [&[][..], &[]],
            Self::Roles(some) => [some, &[]],
            Self::OrProposed(some, others) if approvals => [some, others],
            Self::OrProposed(some, _) => [some, &[]],
        };
        roles.concat().into_iter().collect()
    }
}

/// The rule of a method; none for one that has no row.
pub(super) fn rule_of(method: &str) -> Option<&'static Rule> {
    TABLE.iter().find(|rule| rule.method == method)
}

/// What an operator with these roles may call, of what this version serves.
pub(super) fn callable(roles: Roles, approvals: bool) -> impl Iterator<Item = &'static str> {
    let served = served();
    let rules = TABLE.iter();
    rules
        .filter(move |rule| rule.who.includes(roles, approvals))
        .map(|rule| rule.method)
        .filter(move |method| served.iter().any(|served| served == method))
}

/// The methods of the service, as its description has them: the table may be ahead of it.
fn served() -> Vec<String> {
    let files = FileDescriptorSet::decode(symbolon_proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
    let service = files.file.iter().flat_map(|file| {
        let package = file.package();
        let is_ours = move |name: &str| format!("{package}.{name}") == SERVICE_NAME;
        file.service
            .iter()
            .filter(move |service| is_ours(service.name()))
    });
    let methods = service.flat_map(|service| &service.method);
    methods.map(|method| method.name().to_owned()).collect()
}

#[cfg(test)]
mod tests;
