//! Nothing reaches a workload that others than its author have not approved, and one person is
//! enough to take it away.

use serde_json::Value;
use symbolon_proto::workload::{X509svidRequest, X509svidResponse};
use symbolon_tests::{
    Agent, Output, Program, Setup, Workload, WorkloadApi, can_run, is_root, symbolon, within,
    workload_api,
};
use toml::{Table, Value as Toml};
use tonic::{Code, Status, Streaming};

/// Two users besides root, who need no entry anywhere.
const APPROVERS: [u32; 2] = [64_001, 64_002];

/// As the trail calls them.
fn name(user: u32) -> String {
    format!("approver-{user}")
}

/// An agent with operators of three users: root, who may do everything, and the approvers.
struct Stage {
    agent: Agent,
    program: Program,
}

fn operator(name: String, uid: u32, roles: &[&str]) -> Toml {
    let roles = roles.iter().map(|role| Toml::from(*role));
    let mut table = Table::new();
    table.insert("name".to_owned(), name.into());
    table.insert("uid".to_owned(), i64::from(uid).into());
    table.insert("roles".to_owned(), Toml::Array(roles.collect()));
    Toml::Table(table)
}

pub(crate) fn operators() -> Toml {
    let every = [
        "reader",
        "author",
        "approver",
        "responder",
        "auditor",
        "administrator",
    ];
    let approver = |user| operator(name(user), user, &["approver", "responder"]);
    let mut all = vec![operator("root".to_owned(), 0, &every)];
    all.extend(APPROVERS.map(approver));
    Toml::Array(all)
}

impl Stage {
    /// `None` where the test cannot run here.
    async fn new(test: &str) -> Option<Self> {
        if !can_run(test, is_root(), "run the tests as root") {
            return None;
        }
        let agent = Setup::new()
            .set("registry", "approvals_required", 2)
            .top("operators", operators())
            .start()
            .await;
        let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "operator");
        Some(Self { agent, program })
    }

    /// Runs a command as one of the approvers.
    async fn as_user(&self, user: u32, arguments: &[&str]) -> Output {
        let mut command = self.agent.command(self.program.path());
        command.args(arguments);
        command.uid(user).gid(user);
        Workload::start(&mut command).end().await
    }

    async fn show(&self) -> Value {
        self.agent.json(["client", "show", "client"]).await
    }

    /// Approves what is shown now.
    async fn approve_by(&self, user: u32, what: &str) {
        let approved = self.decide(user, "approve", "client", what).await;
        assert_eq!(approved.code, Some(0), "{approved:?}");
    }

    /// Says a word about what of a client is shown now.
    async fn decide(&self, user: u32, word: &str, client: &str, what: &str) -> Output {
        let shown = self.agent.json(["client", "show", client]).await;
        let (option, pending) = match what {
            "version" => ("--version", &shown["pending"]),
            _ => ("--resumption", &shown["pending_resumption"]),
        };
        let number = pending[what].to_string();
        let digest = pending["digest"].as_str().unwrap();
        let arguments = ["client", word, client, option, &number, "--digest", digest];
        self.as_user(user, &arguments).await
    }

    /// A client that two others have approved.
    async fn approved(&self) {
        self.agent.register_self("client").await;
        for user in APPROVERS {
            self.approve_by(user, "version").await;
        }
    }
}

type X509Stream = Streaming<X509svidResponse>;

async fn open(api: &mut WorkloadApi) -> Result<X509Stream, Status> {
    let call = api.fetch_x509svid(X509svidRequest {});
    within("the answer's head", call)
        .await
        .map(tonic::Response::into_inner)
}

async fn pushed(stream: &mut X509Stream) -> X509svidResponse {
    let message = within("a push", stream.message()).await;
    message
        .expect("a message, not an end")
        .expect("not the end")
}

async fn end(stream: &mut X509Stream) -> Status {
    let end = within("the end of the stream", stream.message()).await;
    end.expect_err("an end with a status")
}

/// The status of a stream that brings nothing.
async fn refusal(agent: &Agent) -> Status {
    match open(&mut workload_api(agent).await).await {
        Ok(mut stream) => end(&mut stream).await,
        Err(status) => status,
    }
}

#[tokio::test]
async fn a_client_that_its_author_alone_wants_reaches_no_workload() {
    let test = "a_client_that_its_author_alone_wants_reaches_no_workload";
    let Some(stage) = Stage::new(test).await else {
        return;
    };
    stage.agent.register_self("client").await;
    let shown = stage.show().await;
    assert_eq!(shown["state"], "new");
    let digest = shown["pending"]["digest"].as_str().unwrap();
    let own = [
        "client",
        "approve",
        "client",
        "--version",
        "1",
        "--digest",
        digest,
    ];
    assert_eq!(stage.agent.run(own).await.code, Some(3));
    assert_eq!(refusal(&stage.agent).await.code(), Code::PermissionDenied);

    stage.approve_by(APPROVERS[0], "version").await;
    let again = stage.as_user(APPROVERS[0], &own).await;
    assert_eq!(again.code, Some(3), "{again:?}");
    assert_eq!(refusal(&stage.agent).await.code(), Code::PermissionDenied);

    stage.approve_by(APPROVERS[1], "version").await;
    let mut api = workload_api(&stage.agent).await;
    let _issued = pushed(&mut open(&mut api).await.unwrap()).await;

    let stopped = stage.agent.stop().await;
    let agent = stopped.setup.start().await;
    let mut api = workload_api(&agent).await;
    let _issued = pushed(&mut open(&mut api).await.unwrap()).await;
    let events = agent.audit().await;
    let of_client = events.iter().filter(|event| event["client"] == "client");
    let told: Vec<_> = of_client
        .filter_map(|event| event["event"].as_str())
        .filter(|event| !matches!(*event, "issued" | "withdrawn"))
        .collect();
    assert_eq!(told, ["proposed", "approved", "approved", "registered"]);
    let registered = events.iter().find(|event| event["event"] == "registered");
    let by = &registered.unwrap()["approvals"]["by"];
    assert_eq!(*by, serde_json::json!(APPROVERS.map(name)));
}

#[tokio::test]
async fn a_changed_digest_voids_approvals() {
    let Some(stage) = Stage::new("a_changed_digest_voids_approvals").await else {
        return;
    };
    stage.approved().await;
    let mut stream = open(&mut workload_api(&stage.agent).await).await.unwrap();
    assert_eq!(pushed(&mut stream).await.svids[0].hint, "");

    let update = |hint| ["client", "update", "client", "--hint", hint];
    stage.agent.run(update("first")).await.success();
    let first = stage.show().await["pending"]["digest"].clone();
    stage.approve_by(APPROVERS[0], "version").await;
    stage.agent.run(update("second")).await.success();
    let shown = stage.show().await;
    assert_eq!(shown["pending"]["approvals"], serde_json::json!([]));
    assert_eq!(
        (&shown["version"], &shown["hint"]),
        (&1.into(), &Value::Null)
    );
    let first = first.as_str().unwrap();
    for version in ["2", "3"] {
        let old = [
            "client",
            "approve",
            "client",
            "--version",
            version,
            "--digest",
            first,
        ];
        let refused = stage.as_user(APPROVERS[1], &old).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("version 3"), "{refused:?}");
    }
    for user in APPROVERS {
        stage.approve_by(user, "version").await;
    }
    // The next push is this one: what only one had approved was never sent.
    assert_eq!(pushed(&mut stream).await.svids[0].hint, "second");
}

#[tokio::test]
async fn one_person_suspends_and_two_others_resume() {
    let Some(stage) = Stage::new("one_person_suspends_and_two_others_resume").await else {
        return;
    };
    stage.approved().await;
    let mut stream = open(&mut workload_api(&stage.agent).await).await.unwrap();
    let _issued = pushed(&mut stream).await;

    let suspend = [
        "client",
        "suspend",
        "--owner",
        "tests@example.org",
        "--reason",
        "stolen",
    ];
    let suspended = stage.as_user(APPROVERS[0], &suspend).await;
    assert_eq!(suspended.code, Some(0), "{suspended:?}");
    assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);

    stage
        .agent
        .run(["client", "resume", "client"])
        .await
        .success();
    assert_eq!(stage.show().await["state"], "suspended");
    stage.approve_by(APPROVERS[0], "resumption").await;
    assert_eq!(refusal(&stage.agent).await.code(), Code::PermissionDenied);
    stage.approve_by(APPROVERS[1], "resumption").await;
    let mut api = workload_api(&stage.agent).await;
    let _issued = pushed(&mut open(&mut api).await.unwrap()).await;
}

#[tokio::test]
async fn an_approver_withdraws_the_resumption_that_he_proposed() {
    let test = "an_approver_withdraws_the_resumption_that_he_proposed";
    let Some(stage) = Stage::new(test).await else {
        return;
    };
    stage.approved().await;
    stage.agent.suspend("client").await;
    let resume = stage
        .as_user(APPROVERS[0], &["client", "resume", "client"])
        .await;
    assert_eq!(resume.code, Some(0), "{resume:?}");
    let [proposer, other] = APPROVERS;
    let withdraw = async |user| stage.decide(user, "withdraw", "client", "resumption").await;
    let refused = withdraw(other).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("only its author"), "{refused:?}");
    let withdrawn = withdraw(proposer).await;
    assert_eq!(withdrawn.code, Some(0), "{withdrawn:?}");
    let shown = stage.show().await;
    assert_eq!(
        (&shown["state"], &shown["pending_resumption"]),
        (&"suspended".into(), &Value::Null)
    );
}

#[tokio::test]
async fn what_has_become_weak_since_is_not_approved() {
    let Some(stage) = Stage::new("what_has_become_weak_since_is_not_approved").await else {
        return;
    };
    let register = async |name: &str, owner: &str, more: &[&str]| {
        let command = ["client", "register", name, "--owner", owner];
        let selector = ["--selector", "unix:uid:31999"];
        let arguments = [&command[..], &selector, more].concat();
        stage.agent.run_list(&arguments).await.success();
    };
    register("client", "one", &["--selector", "unix:path:/nothing/here"]).await;
    stage.approve_by(APPROVERS[0], "version").await;
    // The processes of the first one are those of another owner now.
    register("other", "two", &["--accept-weak", "a test"]).await;
    for user in APPROVERS {
        let approved = stage.decide(user, "approve", "other", "version").await;
        assert_eq!(approved.code, Some(0), "{approved:?}");
    }
    let refused = stage
        .decide(APPROVERS[1], "approve", "client", "version")
        .await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("is weak"), "{refused:?}");
    let shown = stage.show().await;
    assert_eq!(shown["state"], "new");
    assert_eq!(shown["pending"]["approvals"].as_array().unwrap().len(), 1);

    let accept = ["client", "update", "client", "--accept-weak", "a test"];
    stage.agent.run(accept).await.success();
    for user in APPROVERS {
        stage.approve_by(user, "version").await;
    }
    assert_eq!(stage.show().await["state"], "active");
    let events = stage.agent.audit().await;
    let refused = events.iter().filter(|event| event["event"] == "refused");
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["operation"], "approved");
    assert_eq!(refused[0]["operator"], name(APPROVERS[1]));
}
