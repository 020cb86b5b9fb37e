//! `symbolon client apply`.
//!
//! Reads the documents of `agent/doc/apply.md`, has the agent plan what they ask
//! for, shows that, asks, and has it carried out. All documents are checked before
//! the agent is asked, and all of them planned before anything is changed; the
//! agent checks them again, with its own bounds.

mod documents;
mod outcome;
mod plan;

use super::{Admin, drafts};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
};
use clap::Args;
use outcome::{Outcome, changes};
use plan::{Item, Plan};
use std::path::PathBuf;
use symbolon_proto::admin::{GetInfoRequest, GetInfoResponse};

/// Lines of a plan that somebody is asked about; all are in `--dry-run`.
const SHOWN: usize = 100;

/// Register and update clients from files
///
/// A file holds documents with the fields of a registration (agent/doc/apply.md). What they change is shown and asked about first.
/// Clients that no document names are left alone, unless --prune is given; one that says what is in force
/// is not changed; a suspended client is updated and stays suspended.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Exit codes:
  0  done, or nothing is to be done
  1  something was refused or declined
  2  a file has faults, or nobody is there to agree
  6  with --dry-run: something would be changed

Examples:
  symbolon client apply -f clients.yaml --dry-run
  symbolon client apply -f registrations/ --reason CHG-1234
  symbolon client apply -f registrations/ --source git.example.org/mcp --prune --yes")]
pub(super) struct ApplyArgs {
    /// A file (.yaml, .yml, .json or .toml), a folder of such files, or - for YAML from standard input
    #[arg(short, long, value_name = "PATH")]
    file: PathBuf,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Who manages these clients: the source of each document that names none, and no document names another
    #[arg(long, value_name = "TEXT", value_parser = documents::parse_source)]
    source: Option<String>,
    /// Suspend the clients of --source that no document names, or revoke them for ever
    #[arg(long, value_enum, value_name = "HOW", requires = "source")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "suspend")]
    prune: Option<Prune>,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// What becomes of clients whose documents are gone.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Prune {
    /// Their identities end until they are resumed
    Suspend,
    /// For ever; their names are never used again
    Revoke,
}

impl Prune {
    const fn done(self) -> &'static str {
        match self {
            Self::Suspend => "suspended",
            Self::Revoke => "revoked",
        }
    }

    /// Whether a client in this state is affected.
    fn takes(self, state: &str) -> bool {
        match self {
            Self::Suspend => matches!(state, "new" | "active" | "expired"),
            Self::Revoke => state != "revoked",
        }
    }
}

impl ApplyArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        if !self.dry_run && !self.yes && !console.interactive {
            return Err(
                Failure::new(Exit::Usage, "nobody is there to agree to the plan")
                    .advise("Give --yes to have it carried out, or look at it with --dry-run."),
            );
        }
        let info = admin.client.get_info(GetInfoRequest {});
        let info = admin.link.ask(info).await?;
        let mut plan = self.plan(&info, admin, console).await?;
        let refused = refusal(&plan);
        let open = plan.count(Item::is_open);
        let declined = plan.count(|item| item.is("declined"));
        if self.dry_run || refused.is_some() || open == 0 {
            let is_dry = self.dry_run || refused.is_some();
            console.show(&Outcome::of(plan, is_dry))?;
            if let Some(refused) = refused {
                return Err(refused);
            }
            if self.dry_run && open > 0 {
                let told = format!("{} would be made", changes(open));
                return Err(Failure::new(Exit::Changes, told));
            }
            return not_declined(declined);
        }
        plan = self.agreed(plan, open, console)?;
        let done = self.carry_out(&mut plan, admin, console).await;
        console.show(&Outcome::of(plan, false))?;
        done?;
        not_declined(declined)
    }

    async fn plan(
        &self,
        info: &GetInfoResponse,
        admin: &mut Admin,
        console: &mut Console,
    ) -> Result<Plan, Failure> {
        let rules = drafts::rules(&info.trust_domain)?;
        let documents = documents::read(&self.file, self.source.as_deref(), &rules, console)?;
        if documents.is_empty() && self.prune.is_some() {
            return Err(Failure::new(
                Exit::Usage,
                "there are no documents, so every client of the source would go",
            )
            .advise("If that is meant: `symbolon client suspend NAME` for each of them."));
        }
        let mut plan = Plan::make(documents, admin, console).await?;
        if let (Some(how), Some(source)) = (self.prune, &self.source) {
            plan.prune(how, source, admin).await?;
            let operator = info.operator.as_ref();
            let may = operator.is_some_and(|operator| {
                let mut methods = operator.methods.iter();
                methods.any(|method| method == "ChangeManyStates")
            });
            if !may && plan.count(Item::is_gone) > 0 {
                let failure = "denied: --prune takes the role responder, beside author";
                return Err(Failure::new(Exit::Denied, failure)
                    .advise("Apply without --prune, or have a responder suspend the others."));
            }
        }
        Ok(plan)
    }

    /// The plan, once somebody has agreed to it.
    fn agreed(&self, plan: Plan, open: usize, console: &mut Console) -> Result<Plan, Failure> {
        if self.yes {
            return Ok(plan);
        }
        console.explain(&Outcome::of(plan.clone(), true).lines(SHOWN));
        let question = format!("Make {}?", changes(open));
        if console.confirm(&question)? {
            Ok(plan)
        } else {
            Err(Failure::new(Exit::Failed, "nothing was changed"))
        }
    }

    async fn carry_out(
        &self,
        plan: &mut Plan,
        admin: &mut Admin,
        console: &mut Console,
    ) -> Result<(), Failure> {
        plan.carry_out(&self.reason, admin, console).await?;
        if let (Some(how), Some(source)) = (self.prune, &self.source) {
            plan.remove(how, source, &self.reason, admin).await?;
        }
        Ok(())
    }
}

/// What the agent refuses of a plan ends the command before anything is changed.
fn refusal(plan: &Plan) -> Option<Failure> {
    let refused = plan.count(|item| item.is("refused"));
    let is_invalid = plan.count(|item| item.answer.is_invalid) > 0;
    let exit = if is_invalid {
        Exit::Usage
    } else {
        Exit::Failed
    };
    let told = format!(
        "{refused} of {} documents are refused; nothing was changed",
        plan.count(|item| !item.is_gone())
    );
    (refused > 0).then(|| Failure::new(exit, told))
}

fn not_declined(declined: usize) -> Result<(), Failure> {
    match declined {
        0 => Ok(()),
        _ => Err(Failure::new(
            Exit::Failed,
            format!("{declined} of the documents say what was declined"),
        )
        .advise("Change them, or propose it again with `symbolon client update`.")),
    }
}
