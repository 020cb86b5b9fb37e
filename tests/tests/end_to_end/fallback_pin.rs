//! Callers that are pinned as on a kernel that does not name them.

use symbolon_tests::{Program, Setup, symbolon};
use toml::Value;

fn forced() -> Setup {
    Setup::new().set("attestation", "force_fallback_pin", true)
}

#[tokio::test]
async fn a_caller_pinned_by_number_and_start_time_is_served_where_that_is_enough() {
    let proofs = ["held-or-inheritable", "answered"].map(Value::from);
    let setup = forced().set("attestation", "require", proofs.to_vec());
    let agent = setup.start().await;
    agent
        .register("client", &Program::at(symbolon()).selectors())
        .await;
    let svid = agent.json(["svid", "x509"]).await;
    assert!(svid.to_string().contains("/mcp/client/client"), "{svid}");
    let trail = agent.audit().await;
    let attested = trail.iter().find(|line| line["event"] == "attested");
    let evidence = &attested.expect("the evidence")["evidence"];
    assert_eq!(evidence["pinned_by"], "pid-starttime", "{evidence}");
    assert_eq!(evidence["proofs"]["answered"], "stamped", "{evidence}");
}

#[tokio::test]
async fn a_pin_that_is_forced_down_is_no_pidfd() {
    let setup = forced().set("attestation", "require", vec![Value::from("pidfd")]);
    let refused = setup.refused().await;
    assert!(
        refused.stderr.contains("attestation.force_fallback_pin"),
        "{refused:?}"
    );
}
