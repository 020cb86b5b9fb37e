//! Every method of the admin service, as every role: the table of `agent/doc/operators.md`.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use symbolon_tests::{Agent, Setup, can_run, is_root};
use toml::{Table, Value as Toml};

use crate::caller::{self, Caller};

/// Roles in the order of the table, each the only one of a user.
const ROLES: [(&str, u32); 6] = [
    ("reader", 32_001),
    ("author", 32_002),
    ("approver", 32_003),
    ("responder", 32_004),
    ("auditor", 32_005),
    ("administrator", 32_006),
];

/// A method that there will never be.
const UNKNOWN: &str = "NoSuchMethod";

/// What is asked for: who calls which method.
type Calls = BTreeSet<(String, String)>;

/// The cells of the documentation's table: of each method a word for each role.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/doc/operators.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = |row: &str| {
        let mut cells = row.split('|').map(|cell| cell.trim().to_owned());
        let method = cells.next().unwrap().trim_end_matches('`').to_owned();
        (method, cells.take(ROLES.len()).collect())
    };
    // Other tables of the page have rows of other lengths.
    let is_whole = |cells: &Vec<String>| cells.len() == ROLES.len();
    let rows = rows.map(cells);
    rows.filter(|(_, cells)| is_whole(cells)).collect()
}

/// The methods that the service has, by its description.
fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(symbolon_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = files.file.iter().flat_map(|file| &file.service);
    let admin = services.filter(|service| service.name() == "Admin");
    let methods = admin.flat_map(|service| &service.method);
    methods.map(|method| method.name().to_owned()).collect()
}

async fn agent(approvals: u32) -> Agent {
    let operator = |(role, uid): (&str, u32)| {
        let mut table = Table::new();
        table.insert("name".to_owned(), role.into());
        table.insert("uid".to_owned(), i64::from(uid).into());
        table.insert("roles".to_owned(), Toml::Array(vec![role.into()]));
        Toml::Table(table)
    };
    Setup::new()
        .set("registry", "approvals_required", approvals)
        .top("operators", Toml::Array(ROLES.map(operator).to_vec()))
        .start()
        .await
}

/// Whether a cell of the table lets the call through.
fn allows(cell: &str, approvals: u32) -> bool {
    match cell {
        "yes" => true,
        "proposes" => approvals > 0,
        "" => false,
        other => panic!("a cell {other:?}"),
    }
}

/// Has every role call every method, and returns what was refused.
async fn call_all(agent: &Agent, approvals: u32) -> Calls {
    let (documented, program) = (documented(), caller::program(agent));
    let calls = ROLES
        .iter()
        .enumerate()
        .map(|(column, (role, uid))| (column, *role, Caller::start(agent, &program, *uid)));
    let calls = calls.map(|(column, role, mut caller)| {
        let documented = &documented;
        async move {
            let mut refused = Calls::new();
            for method in methods().iter().map(String::as_str).chain([UNKNOWN]) {
                let row = documented.get(method);
                let allowed = match row {
                    Some(row) => allows(&row[column], approvals),
                    None => {
                        assert_eq!(method, UNKNOWN, "not in the table");
                        false
                    }
                };
                // Who is let through is told that the empty request makes no sense, or gets all.
                let status = caller.call(method, &()).await.expect("the caller lives");
                let is_refusal =
                    status.code == "PermissionDenied" && status.message.contains("may not call");
                assert_eq!(is_refusal, !allowed, "{role} {method}: {status:?}");
                if is_refusal {
                    let called = if row.is_some() {
                        method
                    } else {
                        "unknown method"
                    };
                    refused.insert((role.to_owned(), called.to_owned()));
                }
            }
            refused
        }
    });
    let refused = futures_util::future::join_all(calls).await;
    refused.into_iter().flatten().collect()
}

/// The refusals in the segments of the trail.
fn recorded(agent: &Agent) -> Vec<(String, String)> {
    let events = crate::crash::trail(agent.setup());
    let refused = events.iter().filter(|event| event["event"] == "refused");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    refused
        .map(|event| (text(&event["operator"]), text(&event["operation"])))
        .collect()
}

#[tokio::test]
async fn each_role_calls_what_the_table_says_and_every_refusal_is_recorded() {
    let test = "each_role_calls_what_the_table_says_and_every_refusal_is_recorded";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    for approvals in [0, 1] {
        let agent = agent(approvals).await;
        let refused = call_all(&agent, approvals).await;
        let mut recorded = recorded(&agent);
        // What was let through may have been refused for what it asked.
        recorded.retain(|(role, called)| {
            let is_method = called.contains(char::is_uppercase) || called == "unknown method";
            assert!(!role.is_empty(), "{called}");
            is_method
        });
        let expected: Vec<_> = refused.iter().cloned().collect();
        recorded.sort_unstable();
        assert_eq!(recorded, expected, "approvals_required = {approvals}");
    }
}
