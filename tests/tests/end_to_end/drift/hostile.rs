//! Hosts that mean harm: each gets its few bytes and seconds, and nobody else notices.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use symbolon_proto::workload::X509svidRequest;
use symbolon_tests::{Program, Setup, can_run, is_root, within, workload_api};
use tokio::net::TcpListener;

use super::host::{Host, NAME, Names, Page, answer, beginning, json as page};
use super::{NOBODY, Stage, findings, path};

/// More than any document has, and than the buffers of a connection hold.
const MANY_BYTES: u64 = 16 << 20;

/// A place on loopback that nobody may reach.
struct Trap(TcpListener);

impl Trap {
    async fn at(address: SocketAddr) -> Self {
        Self(TcpListener::bind(address).await.unwrap())
    }

    fn url(&self) -> String {
        format!("https://{}/client.json", self.0.local_addr().unwrap())
    }

    /// Nobody came, not even without a word.
    fn is_untouched(&self) {
        let came = self.0.accept().now_or_never();
        assert!(came.is_none(), "{came:?}");
    }
}

/// What each of these hosts does, and what that is called.
fn hosts(trap: &Trap) -> Vec<(&'static str, Page, &'static str, &'static str)> {
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let moved = |status: &str| {
        let to = format!("location: {}\r\n", trap.url());
        answer(status, &to, "")
    };
    let html = answer("200 OK", "content-type: text/html\r\n", "{}");
    let encoded = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let huge = format!("{{\"a\":\"{}\"}}", "a".repeat(32 << 20));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
    let many = vec![b'a'; 1 << 16];
    let unreachable = |name, page, what| (name, page, "unreachable", what);
    let invalid = |name, page| (name, page, "invalid", "not one JSON object");
    vec![
        unreachable("redirect", moved("302 Found"), "redirect"),
        unreachable(
            "redirect-for-ever",
            moved("308 Permanent Redirect"),
            "redirect",
        ),
        unreachable("endless-body", Page::Endless(beginning(), many), "size"),
        unreachable(
            "endless-head",
            Page::Endless(head.clone(), b"a: b\r\n".to_vec()),
            "http",
        ),
        unreachable("slow-body", Page::Dripping(beginning()), "timeout"),
        unreachable("stalled-body", Page::Stalled(beginning()), "timeout"),
        unreachable("stalled-head", Page::Stalled(head), "timeout"),
        unreachable("huge", page(&huge), "size"),
        unreachable("html", html, "media_type"),
        unreachable("untyped", answer("200 OK", "", "{}"), "media_type"),
        unreachable("encoded", answer("200 OK", encoded, "{}"), "encoding"),
        unreachable("no-http", Page::Whole(b"220 mail\r\n".to_vec()), "http"),
        invalid("deep", page(&deep)),
        invalid("twice", page(r#"{"client_id":"a","client_id":"b"}"#)),
        invalid("list", page("[]")),
    ]
}

#[tokio::test]
async fn hostile_hosts_are_refused_within_bounds_while_others_are_served() {
    let mut stage = Stage::new().await;
    let trap = Trap::at((Ipv4Addr::LOCALHOST, 0).into()).await;
    let own = Program::itself().selectors();
    stage.register("honest", "suspend", &own).await;
    stage.look("honest").await;
    let mut api = workload_api(&stage.agent).await;
    let stream = api.fetch_x509svid(X509svidRequest {}).await.unwrap();
    let mut stream = stream.into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let hosts = hosts(&trap);
    for (name, page, _, _) in &hosts {
        let files = stage.publish(name, &stage.document(name));
        stage.host.serve(&path(name, "client.json"), page.clone());
        let nobody = [NOBODY.to_owned()];
        stage.register_files(name, "alert", &nobody, &files).await;
    }
    for (name, _, class, what) in &hosts {
        let told = stage.told(name, "drifted").await;
        let [(found, about)] = &findings(&told)[..] else {
            panic!("{name}: {told}");
        };
        assert_eq!(found, class, "{name}: {told}");
        assert!(about.starts_with(what), "{name}: {told}");
        let page = path(name, "client.json");
        stage.host.ended(&page).await;
        let sent = stage.host.served(&page).most_bytes;
        assert!(sent < MANY_BYTES, "{name}: {sent} bytes");
    }
    trap.is_untouched();

    // Nobody else has waited for them: what others have is looked at, pushed and issued.
    stage.look("honest").await;
    let shown = stage.show("honest").await;
    assert_eq!(shown["state"], "active", "{shown}");
    assert_eq!(shown["external_document"]["outcome"], "approved", "{shown}");
    let update = ["client", "update", "honest", "--hint", "alive"];
    stage.agent.run(update).await.success();
    let pushed = within("a push", stream.message()).await.unwrap().unwrap();
    assert_eq!(pushed.svids[0].hint, "alive");
}

/// Starts agents whose resolver asks this name server.
fn resolving(setup: Setup, names: &Names) -> Setup {
    let file = setup.directory().join("resolv.conf");
    fs::write(&file, names.resolv_conf()).unwrap();
    let script = format!(
        "mount --bind '{}' /etc/resolv.conf && exec \"$@\"",
        file.display()
    );
    let unshare = ["unshare", "--mount", "--propagation", "private"];
    setup.wrapped_in([&unshare[..], &["sh", "-c", &script, "sh"]].concat())
}

/// The agent asks a real name server, whose answers change after the document was approved.
#[tokio::test]
async fn a_name_that_comes_to_mean_a_private_address_is_not_followed() {
    let test = "a_name_that_comes_to_mean_a_private_address_is_not_followed";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let (host, names) = (Host::start().await, Names::start().await);
    let trap = Trap::at(SocketAddr::from(([127, 0, 0, 2], host.port()))).await;
    names.answer(&[&["127.0.0.1"]]);
    // The host's own address and no other.
    let mut stage = Stage::on(host, "127.0.0.1", |setup| resolving(setup, &names)).await;
    let mut document = stage.document("app");
    document["client_id"] = stage.url_on(NAME, "app", "client.json").into();
    document["jwks_uri"] = stage.url_on(NAME, "app", "jwks.json").into();
    let nobody = [NOBODY.to_owned()];
    stage.register_as("app", "alert", &nobody, &document).await;
    stage.look("app").await;
    let mut before = json!({});
    for sets in [
        &[&["127.0.0.2"][..]][..],
        &[&["10.0.0.1"]],
        &[&["169.254.169.254"]],
        &[&["::1"]],
        &[&["fd00:ec2::254"]],
        // One that may be reached beside one that may not.
        &[&["127.0.0.1", "127.0.0.2"]],
        // Another answer each time.
        &[&["127.0.0.1"], &["127.0.0.2"]],
        &[&[]],
    ] {
        names.answer(sets);
        let told = stage.looked("app", "failed", &before).await;
        let what = if sets[0].is_empty() {
            "unresolved"
        } else {
            "address"
        };
        let refused = ("unreachable".to_owned(), what.to_owned());
        let found: Vec<_> = findings(&told);
        assert_eq!(found, [refused], "{sets:?}: {told}");
        names.answer(&[&["127.0.0.1"]]);
        before = stage.looked("app", "accepted", &told).await;
        assert_eq!(before["evidence"]["findings"], Value::Array(Vec::new()));
    }
    trap.is_untouched();
    assert_eq!(stage.show("app").await["state"], "active");
}
