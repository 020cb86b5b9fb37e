//! `symbolon whoami`: as whom the agent knows the caller, and what that one may do.

use super::{
    console::Console,
    failure::Failure,
    output::{Fields, Look, View},
    socket::AdminArgs,
};
use clap::Args;
use serde::Serialize;
use symbolon_proto::admin::{GetInfoRequest, GetInfoResponse};

/// Show as which operator the agent knows you, and what you may do
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon whoami
  symbolon whoami -o json | jq -r .roles[]")]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

impl WhoamiArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let link = self.admin.link(console);
        let mut admin = link.admin().await?;
        let info = link.ask(admin.get_info(GetInfoRequest {})).await?;
        console.show(&Whoami::from(info))
    }
}

/// An operator; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Whoami {
    operator: String,
    uid: u32,
    login: Option<u32>,
    roles: Vec<String>,
    methods: Vec<String>,
    operators_configured: bool,
    approvals_required: u32,
}

impl From<GetInfoResponse> for Whoami {
    fn from(info: GetInfoResponse) -> Self {
        let operator = info.operator.unwrap_or_default();
        Self {
            operator: operator.name,
            uid: operator.uid,
            login: operator.login,
            roles: operator.roles,
            methods: operator.methods,
            operators_configured: info.operators_configured,
            approvals_required: info.approvals_required,
        }
    }
}

impl View for Whoami {
    fn table(&self, _: &Look) -> String {
        let mut fields = Fields::new();
        fields.add("Operator", &self.operator);
        let login = match self.login {
            Some(login) => format!("{}, logged in as {login}", self.uid),
            None => self.uid.to_string(),
        };
        fields.add("User", login);
        let roles = match self.roles.as_slice() {
            [] => "none".to_owned(),
            roles => roles.join(", "),
        };
        fields.add("Roles", roles);
        fields.list("May call", &self.methods);
        fields.add("Approvals", approvals(self.approvals_required));
        if !self.operators_configured {
            fields.add(
                "Operators",
                "none are configured: root and the agent's own user may do everything",
            );
        }
        fields.render()
    }
}

/// How many approvals a version needs, in words.
pub(super) fn approvals(required: u32) -> String {
    match required {
        0 => "off: what an author writes is in force at once (registry.approvals_required is 0)"
            .to_owned(),
        1 => "1 operator other than the author has to approve a version".to_owned(),
        more => format!("{more} operators other than the author have to approve a version"),
    }
}
