//! `symbolon client lint`.

use super::{Admin, PAGE};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
    finding::{AcceptedView, FindingView},
    output::{Look, View, count, printable},
};
use crate::lint::document::{self, Described, Policy};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use symbolon_proto::admin::{ClientFindings, LintClientsRequest};

/// What a file has instead of a client's state.
const DOCUMENT: &str = "document";

/// Judge registrations: who else could have their identities
///
/// Each selector set is judged in itself, against this machine (users, files, known interpreters, running processes) and
/// against the other clients; each metadata document by the standards' rules. The exit code is 1 where a finding is
/// serious or forbidden.
///
/// With --document a file is judged, in itself and without an agent.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client lint
  symbolon client lint payments
  symbolon client lint --ignore-accepted -o json | jq -r '.clients[].name'
  symbolon client lint --document client.json --client-id https://app.example.org/client.json")]
pub(super) struct LintArgs {
    /// Judge only this client
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
    /// Serious findings that were accepted with --accept-weak do not count
    #[arg(long)]
    ignore_accepted: bool,
    /// Judge this client ID metadata document instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "ignore_accepted"])]
    document: Option<PathBuf>,
    /// The URL at which the document is found
    #[arg(long, value_name = "URL", requires = "document")]
    client_id: Option<String>,
    /// An origin of redirect URIs that is allowed beside the document's own, repeated for more
    #[arg(
        long = "allow-redirect-origin",
        value_name = "ORIGIN",
        requires = "document"
    )]
    allowed_redirect_origins: Vec<String>,
}

impl LintArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let mut request = LintClientsRequest {
            name: self.name,
            after: String::new(),
            limit: PAGE,
        };
        let mut report = Report::default();
        loop {
            let call = admin.client.lint_clients(request.clone());
            let page = admin.link.ask(call).await?;
            report.judged += page.judged;
            let clients = page.clients.into_iter().map(Judged::from);
            report.clients.extend(clients);
            if !page.more {
                break;
            }
            request.after = page.last;
        }
        report.conclude(self.ignore_accepted, console)
    }

    /// Whether a file is to be judged, and no registration.
    pub(super) const fn is_of_file(&self) -> bool {
        self.document.is_some()
    }

    /// Judges a file.
    pub(super) fn judge_file(self, console: &mut Console) -> Result<(), Failure> {
        let file = self.document.unwrap_or_default();
        let text = super::metadata::read(&file)?;
        let findings = match document::parse(&text, self.client_id.as_deref()) {
            Err(finding) => vec![finding],
            Ok(described) => {
                let described = Described {
                    allowed_origins: self.allowed_redirect_origins,
                    ..described
                };
                document::judge(&described, &Policy::default())
            }
        };
        let mut findings: Vec<_> = findings.iter().map(FindingView::from).collect();
        findings.sort_by_key(FindingView::rank);
        let report = Report {
            judged: 1,
            clients: vec![Judged {
                name: file.display().to_string(),
                state: DOCUMENT.to_owned(),
                findings,
                accepted_weaknesses: None,
            }],
        };
        report.conclude(false, console)
    }
}

impl Report {
    fn conclude(self, ignore: bool, console: &mut Console) -> Result<(), Failure> {
        console.show(&self)?;
        let serious = self
            .clients
            .iter()
            .filter(|client| client.is_serious(ignore));
        let serious = u64::try_from(serious.count()).unwrap_or(u64::MAX);
        let weak = match self.clients.as_slice() {
            _ if serious == 0 => return Ok(()),
            [only] if only.is_document() => "the document breaks rules".to_owned(),
            _ => {
                let registrations = count(serious, "registration is", "registrations are");
                format!("{registrations} seriously weak")
            }
        };
        let failure = Failure::new(Exit::Failed, weak);
        Err(failure.advise("agent/doc/lint.md explains each finding."))
    }
}

/// All that was found; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Default, Serialize)]
struct Report {
    judged: u64,
    clients: Vec<Judged>,
}

#[derive(Debug, Serialize)]
struct Judged {
    name: String,
    state: String,
    findings: Vec<FindingView>,
    accepted_weaknesses: Option<AcceptedView>,
}

impl From<ClientFindings> for Judged {
    fn from(client: ClientFindings) -> Self {
        Self {
            name: client.name,
            state: client.state,
            findings: FindingView::all(client.findings),
            accepted_weaknesses: client.accepted_weaknesses.map(AcceptedView::from),
        }
    }
}

impl Judged {
    fn is_document(&self) -> bool {
        self.state == DOCUMENT
    }

    fn is_serious(&self, ignore_accepted: bool) -> bool {
        let accepted = self.accepted_weaknesses.as_ref();
        let mut findings = self.findings.iter();
        findings.any(|finding| {
            let ignored = ignore_accepted && accepted.is_some_and(|a| a.covers(finding));
            finding.is_serious() && !ignored
        })
    }

    fn explain(&self, out: &mut String) {
        let (name, state) = (printable(&self.name), printable(&self.state));
        match state.as_str() {
            "active" => out.push_str(&format!("{name}\n")),
            _ => out.push_str(&format!("{name} ({state})\n")),
        }
        let mut last: Option<&[String]> = None;
        for finding in &self.findings {
            if last != Some(&finding.selectors) && !finding.selectors.is_empty() {
                let set = finding.selectors.join(", ");
                out.push_str(&format!("  {}\n", printable(&set)));
            }
            last = Some(&finding.selectors);
            out.push_str(&finding.lines("    "));
        }
        if let Some(accepted) = &self.accepted_weaknesses {
            out.push_str(&format!("  accepted  {}\n", printable(&accepted.line())));
        }
    }
}

impl View for Report {
    fn table(&self, _: &Look) -> String {
        let mut out = String::new();
        for client in self.clients.iter().filter(|c| !c.findings.is_empty()) {
            client.explain(&mut out);
        }
        let judged = match self.clients.as_slice() {
            [only] if only.is_document() => count(1, "document", "documents"),
            _ => count(self.judged, "client", "clients"),
        };
        let weak = self.clients.iter().filter(|c| !c.findings.is_empty());
        out.push_str(&match weak.count() {
            0 => format!("Nothing was found about {judged}.\n"),
            weak => format!("{judged} judged, {weak} with findings.\n"),
        });
        out
    }
}
