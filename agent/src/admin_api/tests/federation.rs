//! Foreign trust domains, over the calls that operators make.

use super::{api, request};
use crate::{admin_api::Operator, workloads::testing::Scene};
use serde_json::json;
use symbolon_proto::admin::{
    AddTrustDomainRequest, BundleEndpoint, GetTrustDomainRequest, ListTrustDomainsRequest,
    RemoveTrustDomainRequest, TrustDomain, TrustDomainDecision, admin_server::Admin as _,
};
use tonic::{Code, Request};

fn by<T>(scene: &Scene, uid: u32, message: T) -> Request<T> {
    let mut request = request(scene, message);
    let operator = request.extensions_mut().get_mut::<Operator>().unwrap();
    operator.uid = uid;
    operator.name = format!("uid:{uid}").into();
    request
}

fn add(name: &str, url: &str) -> AddTrustDomainRequest {
    AddTrustDomainRequest {
        name: name.to_owned(),
        endpoint: Some(BundleEndpoint {
            url: url.to_owned(),
            profile: "https_web".to_owned(),
            ..BundleEndpoint::default()
        }),
        reason: "their servers".to_owned(),
        replace: false,
    }
}

fn decision(domain: &TrustDomain, reason: &str) -> TrustDomainDecision {
    TrustDomainDecision {
        name: domain.name.clone(),
        digest: domain.pending.as_ref().unwrap().digest.clone(),
        reason: reason.to_owned(),
    }
}

#[tokio::test]
async fn a_trust_domain_is_proposed_approved_shown_and_removed() {
    let scene = Scene::requiring(1).await;
    let api = api(&scene);
    let url = "https://other.example/bundle";
    let proposed = api.add_trust_domain(by(&scene, 1, add("other.example", url)));
    let proposed = proposed.await.unwrap().into_inner();
    assert_eq!(proposed.state, "new");
    let own = by(&scene, 1, decision(&proposed, ""));
    let own = api.approve_trust_domain(own).await.unwrap_err();
    assert_eq!(own.code(), Code::PermissionDenied);
    let other = by(&scene, 2, decision(&proposed, ""));
    let approved = api.approve_trust_domain(other).await.unwrap().into_inner();
    assert_eq!(approved.state, "active");
    let in_force = approved.in_force.unwrap();
    assert_eq!(in_force.endpoint.unwrap().url, url);
    assert_eq!(in_force.approvals[0].operator, "uid:2");
    scene.federation_metrics().leave_out("other.example");
    let name = "other.example".to_owned();
    let shown = api.get_trust_domain(request(&scene, GetTrustDomainRequest { name }));
    assert_eq!(shown.await.unwrap().into_inner().left_out, 1);
    let again = api.add_trust_domain(by(&scene, 1, add("other.example", url)));
    assert_eq!(again.await.unwrap_err().code(), Code::AlreadyExists);
    let list = api.list_trust_domains(request(&scene, ListTrustDomainsRequest {}));
    assert_eq!(list.await.unwrap().into_inner().trust_domains.len(), 1);
    let remove = RemoveTrustDomainRequest {
        name: "other.example".to_owned(),
        reason: "over".to_owned(),
    };
    let removed = api.remove_trust_domain(by(&scene, 3, remove)).await;
    let removed = removed.unwrap().into_inner();
    assert_eq!(
        (&*removed.state, &*removed.removed_by),
        ("removed", "uid:3")
    );
    scene.close_trail().await;
    let told: Vec<_> = scene
        .lines()
        .iter()
        .filter(|line| line["trust_domain"] == "other.example")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            let revision = line["revision"].as_u64().unwrap_or_default();
            format!(
                "{} {} by {} {revision}",
                text("event"),
                text("operation"),
                text("operator")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "federation proposed by uid:1 1",
            "refused approved by uid:1 0",
            "federation approved by uid:2 2",
            "federation federated by uid:1 2",
            "refused federated by uid:1 0",
            "federation removed by uid:3 3",
        ]
    );
}

#[tokio::test]
async fn its_author_withdraws_a_proposal_and_others_reject_it() {
    let scene = Scene::requiring(1).await;
    let api = api(&scene);
    let url = "https://other.example/bundle";
    let mut told = Vec::new();
    for uid in [1, 2] {
        let proposed = api.add_trust_domain(by(&scene, 1, add("other.example", url)));
        let proposed = proposed.await.unwrap().into_inner();
        let somebody_else = by(&scene, 2, decision(&proposed, "no"));
        let somebody_else = api.withdraw_trust_domain(somebody_else).await;
        assert_eq!(somebody_else.unwrap_err().code(), Code::PermissionDenied);
        let without_reason = by(&scene, 2, decision(&proposed, ""));
        let without_reason = api.reject_trust_domain(without_reason).await;
        assert_eq!(without_reason.unwrap_err().code(), Code::InvalidArgument);
        let declined = if uid == 1 {
            let taken_back = by(&scene, uid, decision(&proposed, ""));
            api.withdraw_trust_domain(taken_back).await
        } else {
            let no = by(&scene, uid, decision(&proposed, "no"));
            api.reject_trust_domain(no).await
        };
        let declined = declined.unwrap().into_inner();
        assert!(declined.pending.is_none());
        told.push(declined.declined.unwrap().verdict);
        let again = by(&scene, 1, decision(&proposed, ""));
        let again = api.withdraw_trust_domain(again).await.unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition);
    }
    assert_eq!(told, ["withdrawn", "rejected"]);
    scene.close_trail().await;
    let lines = scene.lines();
    let recorded = lines.iter().filter(|line| line["event"] == "federation");
    let recorded: Vec<_> = recorded
        .map(|line| (&line["operation"], &line["operator"]))
        .collect();
    let word = |operation: &str, operator: &str| (json!(operation), json!(operator));
    let expected = [
        word("proposed", "uid:1"),
        word("withdrawn", "uid:1"),
        word("proposed", "uid:1"),
        word("rejected", "uid:2"),
    ];
    assert_eq!(recorded, expected.each_ref().map(|(a, b)| (a, b)));
}

#[tokio::test]
async fn what_is_malformed_is_the_callers_fault() {
    let scene = Scene::new().await;
    let api = api(&scene);
    for (name, url) in [
        ("example.org", "https://example.org/b"),
        ("spiffe://other.example/a", "https://other.example/b"),
        ("Other.example", "https://other.example/b"),
        ("", "https://other.example/b"),
        ("other.example", "http://other.example/b"),
        ("other.example", "http://127.0.0.1/b"),
        ("other.example", "https://u@other.example/b"),
        ("other.example", "https://other.example/b#c"),
        ("other.example", ""),
    ] {
        let refused = api.add_trust_domain(request(&scene, add(name, url))).await;
        let code = refused.unwrap_err().code();
        assert_eq!(code, Code::InvalidArgument, "{name} {url}");
    }
    let name = "other.example".to_owned();
    let unknown = api.get_trust_domain(request(&scene, GetTrustDomainRequest { name }));
    assert_eq!(unknown.await.unwrap_err().code(), Code::NotFound);
    assert_eq!(scene.registry.snapshot().revision(), 0);
}
