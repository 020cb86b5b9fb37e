use super::{Call, KeySlot, Metrics};

fn touch_proofs(metrics: &Metrics) {
    let failures = &metrics.workload.attestor_failures;
    failures.get_or_create(&"systemd".into()).inc();
    let required = &metrics.workload.proofs_required;
    required.get_or_create(&"held".into()).set(1);
}

/// Metrics in which every family has a series.
fn touched() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    touch_proofs(&metrics);
    let call = Call {
        method: "FetchX509SVID",
        code: "Ok",
    };
    let slot = KeySlot {
        kind: "jwt",
        slot: "active",
    };
    let workload = &metrics.workload;
    workload
        .connections_refused
        .get_or_create(&"too-many".into())
        .inc();
    workload.calls.calls.get_or_create(&call).inc();
    workload
        .calls
        .duration
        .get_or_create(&"FetchX509SVID".into())
        .observe(0.001);
    workload
        .attestations
        .get_or_create(&"accepted".into())
        .inc();
    let issuance = &metrics.issuance;
    issuance.issued.get_or_create(&"x509-svid".into()).inc();
    issuance.renewed.get_or_create(&"x509-svid".into()).inc();
    issuance
        .duration
        .get_or_create(&"x509-svid".into())
        .observe(0.001);
    issuance.denied.get_or_create(&"no-match".into()).inc();
    issuance.withdrawn.get_or_create(&"suspended".into()).inc();
    issuance.validations.get_or_create(&"accepted".into()).inc();
    metrics
        .registry
        .clients
        .get_or_create(&"active".into())
        .set(3);
    metrics
        .registry
        .changes
        .get_or_create(&"registered".into())
        .inc();
    metrics
        .authority
        .not_after
        .get_or_create(&slot)
        .set(1_785_240_000);
    metrics.audit.records.get_or_create(&"issued".into()).inc();
    metrics.admin.calls.calls.get_or_create(&call).inc();
    metrics
        .admin
        .calls
        .duration
        .get_or_create(&"GetInfo".into())
        .observe(0.001);
    metrics
}

#[test]
fn every_metric_is_published_under_its_name() {
    let text = touched().text(true).unwrap();
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    assert_eq!(names.join("\n") + "\n", include_str!("tests/names.txt"));
}

#[test]
fn series_carry_their_labels() {
    let text = touched().text(false).unwrap();
    for line in [
        "symbolon_build_info{version=\"1.2.3\"} 1",
        "symbolon_ready 0",
        "symbolon_workload_calls_total{method=\"FetchX509SVID\",code=\"Ok\"} 1",
        "symbolon_authority_not_after_timestamp_seconds{kind=\"jwt\",slot=\"active\"} 1785240000",
        "symbolon_audit_records_total{event=\"issued\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}
