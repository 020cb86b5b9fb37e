//! More than anybody needs, and slower than anybody is.

use crate::stage::{ATTACKER, Attack, Stage, VICTIM, id};

/// Connections that one user opens.
const FLOOD: &str = "10000";

#[tokio::test]
async fn ten_thousand_connections_of_one_user_keep_no_other_waiting() {
    let test = "ten_thousand_connections_of_one_user_keep_no_other_waiting";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let honest = stage.build("ask");
    let selectors = [honest.digest_selector(), format!("unix:uid:{VICTIM}")];
    stage.register("victim", &selectors).await;
    let flood = stage.build("flood");
    let attack = Attack::with(&flood).by(ATTACKER).args(["SOCKET", FLOOD]);
    let mut attacker = stage.target().launch(&attack);
    let opened = attacker.line().await;
    assert_eq!(opened.as_deref(), Some("opened 10000"));

    let ask = Attack::with(&honest).by(VICTIM).arg("SOCKET");
    for _ in 0..10 {
        let served = stage.symbolon(&ask).await;
        assert_eq!(
            served.credential(),
            Some(id("victim").as_str()),
            "{served:?}"
        );
    }
    attacker.says("ready").await;
    attacker.go().await;
    attacker.end().await;
    let served = stage.symbolon(&ask).await;
    assert_eq!(
        served.credential(),
        Some(id("victim").as_str()),
        "{served:?}"
    );
}
