//! The admin socket: who is no operator, and wants to be taken for a program that is one.

use symbolon_tests::Setup;
use toml::{Table, Value};

use crate::stage::{ATTACKER, Attack, Stage, VICTIM};

/// What the attackers ask for: its answer names a SPIFFE ID.
const CALL: &str = "/symbolon.admin.v1.Admin/ListClients";

fn operator(name: &str, key: &str, value: impl Into<Value>, role: &str) -> Value {
    let mut table = Table::new();
    table.insert("name".to_owned(), name.into());
    table.insert(key.to_owned(), value.into());
    table.insert("roles".to_owned(), Value::Array(vec![role.into()]));
    Value::Table(table)
}

/// An agent with a client, which the program `name` of this user may see.
async fn stage(test: &str, name: &str, user: u32) -> Option<Stage> {
    let setup = Setup::new().set("attestation", "answer_timeout", "1s");
    let path = setup.directory().join(name);
    let job = vec![
        format!("unix:path:{}", path.display()),
        format!("unix:uid:{user}"),
    ];
    let operators = vec![
        operator("root", "uid", 0, "author"),
        operator("job", "selectors", job, "reader"),
    ];
    let setup = setup.top("operators", Value::Array(operators));
    let mut stage = Stage::set_with(test, setup).await?;
    stage.register("seen", &["unix:uid:64003".to_owned()]).await;
    Some(stage)
}

/// Carries out an attack on the admin socket, which has to come to nothing.
async fn withstands(stage: &Stage, attack: &Attack) {
    let attack = attack.clone().env("CALL", CALL);
    stage.admin_target().suffers(&attack).await.got_nothing();
}

#[tokio::test]
async fn only_the_program_that_is_named_is_the_operator() {
    let test = "only_the_program_that_is_named_is_the_operator";
    let Some(stage) = stage(test, "ask", VICTIM).await else {
        return;
    };
    let job = stage.build("ask");
    let asks = |manner: &str| Attack::with(&job).by(VICTIM).arg("SOCKET").arg(manner);
    // What the others want: an attack that works for nobody proves nothing.
    let target = stage.admin_target();
    let plain = asks("plain").env("CALL", CALL);
    target.suffers(&plain).await.stole("seen");
    let other = Attack::with(&stage.build_as("ask", "other", &[])).by(VICTIM);
    withstands(&stage, &other.arg("SOCKET")).await;
    withstands(&stage, &asks("plain").by(ATTACKER)).await;
    for manner in ["child", "wrong", "silent"] {
        withstands(&stage, &asks(manner)).await;
    }
    target.suffers(&plain).await.stole("seen");
}

#[tokio::test]
async fn exec_after_connect_makes_nobody_an_operator() {
    let test = "exec_after_connect_makes_nobody_an_operator";
    let Some(stage) = stage(test, "idle", ATTACKER).await else {
        return;
    };
    let (job, attacker) = (stage.build("idle"), stage.build("hand_over"));
    for order in ["nothing", "preface", "answers", "everything", "advance"] {
        let attack = Attack::with(&attacker).arg("SOCKET");
        let attack = attack.args([order, "-"]).program(&job);
        withstands(&stage, &attack).await;
        if matches!(order, "nothing" | "preface" | "advance") {
            withstands(&stage, &attack.unseen()).await;
        }
    }
}

#[tokio::test]
async fn a_socket_of_an_operator_is_of_no_use_to_others() {
    let test = "a_socket_of_an_operator_is_of_no_use_to_others";
    let Some(stage) = stage(test, "share", VICTIM).await else {
        return;
    };
    let job = stage.build("share");
    for manner in ["fork", "rights", "passed", "files"] {
        let attack = Attack::with(&job).by(VICTIM).arg("SOCKET");
        withstands(&stage, &attack.arg(manner)).await;
    }
}
