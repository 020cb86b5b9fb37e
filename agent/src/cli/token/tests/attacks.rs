//! Resources and authorization servers that mean no good, at each step.

use super::{ASM, Numbered, PRM, TOKEN, changed, failure, get, host, obtain, resource, server};
use crate::{
    cli::token::{Token, exchange::Wanted, web::Web},
    fetch::testing::{Reply, answer, json},
};
use serde_json::{Value, json};

/// Each page, and the step at which it is asked for.
const STEPS: [(&str, &str); 4] = [
    ("/mcp", "the resource"),
    (PRM, "the resource's metadata"),
    (ASM, "the authorization server's metadata"),
    (TOKEN, "the token request"),
];

fn dpop() -> Wanted {
    Wanted {
        dpop: true,
        ..Wanted::default()
    }
}

#[tokio::test]
async fn answers_without_an_end_are_left_at_every_step() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for (path, step) in STEPS {
        for (reply, why) in [
            (
                Reply::Endless(format!("{HEAD}\r\n").into(), vec![b' '; 4_096]),
                "the answer is longer than 65536 bytes",
            ),
            (
                Reply::Whole(format!("{HEAD}Content-Length: 65537\r\n\r\n").into()),
                "the answer is longer than 65536 bytes",
            ),
            (
                Reply::Endless(HEAD.into(), b"A: b\r\n".repeat(512)),
                "no HTTP answer: ",
            ),
        ] {
            let host = host(changed(path, move |_base| reply.clone())).await;
            let sentence = failure(&host, Wanted::default()).await;
            let start = format!("{step}: BASE{path}: {why}");
            assert!(sentence.starts_with(&start), "{sentence}");
        }
    }
}

#[tokio::test]
async fn redirects_lead_nowhere_at_every_step() {
    for (path, step) in STEPS {
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let host = host(changed(path, move |base| {
                let port = base.rsplit(':').next().unwrap();
                let location = format!("Location: https://127.0.0.1:{port}/inside\r\n");
                answer(status, &location, "")
            }))
            .await;
            let sentence = failure(&host, Wanted::default()).await;
            let start = format!("{step}: BASE{path}: the server redirects (");
            assert!(sentence.starts_with(&start), "{sentence}");
            let asked = host.requests();
            assert!(!asked.iter().any(|head| head.contains("/inside")));
        }
    }
}

#[tokio::test]
async fn metadata_that_can_be_read_in_two_ways_are_refused() {
    fn doubled(document: &Value, member: &str) -> String {
        let text = document.to_string();
        let first = format!("{{\"{member}\":\"https://evil.test\",");
        text.replacen('{', &first, 1)
    }
    type Body = fn(&str) -> String;
    let both: [Body; 6] = [
        |_base| "[".repeat(60_000),
        |_base| "{\"a\":".repeat(12_000),
        |_base| "{} {}".to_owned(),
        |base| format!("\u{feff}{}", resource(base)),
        |_base| "{\"a\":{\"b\":1,\"b\":2}}".to_owned(),
        |_base| "{\"a\":NaN}".to_owned(),
    ];
    let resources: [Body; 2] = [
        |base| doubled(&resource(base), "resource"),
        |base| doubled(&resource(base), "authorization_servers"),
    ];
    let servers: [Body; 2] = [
        |base| doubled(&server(base), "issuer"),
        |base| doubled(&server(base), "token_endpoint"),
    ];
    for (path, step, own) in [
        (PRM, "the resource's metadata", resources),
        (ASM, "the authorization server's metadata", servers),
    ] {
        for body in both.into_iter().chain(own) {
            let host = host(changed(path, move |base| json(&body(base)))).await;
            let sentence = failure(&host, Wanted::default()).await;
            assert!(sentence.starts_with(step), "{sentence}");
            let end = "which is not one JSON object with distinct names";
            assert!(sentence.ends_with(end), "{sentence}");
            assert!(sentence.len() < 1_000, "{}", sentence.len());
            assert!(!host.requests().iter().any(|head| head.starts_with("POST")));
        }
    }
}

#[tokio::test]
async fn a_challenge_leads_to_no_other_place_than_a_url() {
    for named in [
        "",
        "/elsewhere",
        "//host.test/elsewhere",
        "host.test",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "unix:///run/x.sock",
        "http://127.0.0.1/",
        "http://host.test/",
        "https://user:word@host.test/",
        "https://host.test/#x",
        "https://host.test:0/",
        "https://2130706433/",
        "https://[::1",
        "https://host.test/a b",
    ] {
        let host = host(changed("/mcp", move |_base| {
            let headers = format!("WWW-Authenticate: Bearer resource_metadata=\"{named}\"\r\n");
            answer("401 Unauthorized", &headers, "")
        }))
        .await;
        let sentence = failure(&host, Wanted::default()).await;
        let start = format!("the resource's metadata: {named}: no URL to go to: ");
        assert!(sentence.starts_with(&start), "{sentence}");
        assert_eq!(host.requests().len(), 1);
    }
}

/// The issuer is the same text, not the same place.
#[tokio::test]
async fn another_issuer_is_no_issuer() {
    fn other(base: &str, which: usize) -> String {
        let port = base.rsplit(':').next().unwrap();
        match which {
            0 => "https://honest.test/as".to_owned(),
            1 => format!("{base}/as/"),
            2 => format!("{base}/%61s"),
            3 => format!("{base}/AS"),
            4 => format!("{base}/as?a"),
            5 => format!("{base}/x/../as"),
            6 => format!("https://HOST.test:{port}/as"),
            7 => base.to_owned(),
            _ => String::new(),
        }
    }
    for which in 0..9 {
        let host = host(changed(ASM, move |base| {
            let mut server = server(base);
            server["issuer"] = other(base, which).into();
            json(&server.to_string())
        }))
        .await;
        let sentence = failure(&host, Wanted::default()).await;
        assert!(sentence.contains("is of the issuer "), "{sentence}");
        assert!(sentence.ends_with("not of BASE/as"), "{sentence}");
        assert!(!host.requests().iter().any(|head| head.starts_with("POST")));
    }
}

/// Servers may have their token endpoint elsewhere, also at somebody else: what is sent there is
/// for the issuer alone, which nobody else takes.
#[tokio::test]
async fn an_endpoint_of_somebody_else_gets_nothing_that_is_for_him() {
    fn honest(base: &str) -> String {
        let port = base.rsplit(':').next().unwrap();
        format!("https://127.0.0.1:{port}/honest/token")
    }
    let host = host(|path, head| {
        let base = super::base(head);
        match path {
            ASM => {
                let mut server = server(&base);
                server["token_endpoint"] = honest(&base).into();
                Some(json(&server.to_string()))
            }
            "/honest/token" => Some(answer("401 No", "", r#"{"error":"invalid_client"}"#)),
            _ => None,
        }
    })
    .await;
    let mut broker = Numbered::default();
    let refused = get(&host, &mut broker, dpop()).await;
    assert!(super::told(refused).contains("answered 401 "));
    let base = host.url("");
    let proof = format!("proof {} - -", honest(base.as_str()));
    let assertion = format!("assertion {base}/as {base}/mcp");
    assert_eq!(broker.made, [assertion, proof]);
}

#[tokio::test]
async fn a_server_that_never_has_enough_nonces_is_left() {
    let host = host(changed(TOKEN, |_base| {
        let headers = "DPoP-Nonce: again\r\n";
        answer("400 Bad Request", headers, r#"{"error":"use_dpop_nonce"}"#)
    }))
    .await;
    let mut broker = Numbered::default();
    let refused = super::told(get(&host, &mut broker, dpop()).await);
    assert!(refused.contains("(use_dpop_nonce), and gave no token"));
    assert_eq!(broker.made.len(), 4, "{:?}", broker.made);
    // Two nonces are none, and who asked for no proof gives none.
    let host = self::host(changed(TOKEN, |_base| {
        let headers = "DPoP-Nonce: a\r\nDPoP-Nonce: b\r\n";
        answer("400 Bad Request", headers, r#"{"error":"use_dpop_nonce"}"#)
    }))
    .await;
    for (wanted, made) in [(dpop(), 2), (Wanted::default(), 1)] {
        let mut broker = Numbered::default();
        super::told(get(&host, &mut broker, wanted).await);
        assert_eq!(broker.made.len(), made, "{:?}", broker.made);
    }
}

#[tokio::test]
async fn what_else_stands_beside_a_token_harms_nobody() {
    for (members, expires_at, scope) in [
        (
            json!({"expires_in": -1}),
            Some("1970-01-01T00:00:09Z"),
            None,
        ),
        (json!({"expires_in": i64::MAX}), None, None),
        (json!({"expires_in": i64::MIN}), None, None),
        (json!({"expires_in": u64::MAX}), None, None),
        (json!({"expires_in": 1e300}), None, None),
        (json!({"expires_in": "60", "scope": ["a"]}), None, None),
        (json!({"scope": "\u{1b}[0m"}), None, Some("\u{1b}[0m")),
        (json!({"refresh_token": "r", "id_token": "i"}), None, None),
    ] {
        let told = members.clone();
        let host = host(changed(TOKEN, move |_base| {
            let mut token = json!({"access_token": "at", "token_type": "Bearer"});
            let members = members.as_object().unwrap().clone();
            token.as_object_mut().unwrap().extend(members);
            json(&token.to_string())
        }))
        .await;
        let web = Web::new(host.fetcher());
        let mut broker = Numbered::default();
        let grant = obtain(&web, &mut broker, &host.url("/mcp"), Wanted::default()).await;
        let token = Token::new(grant.unwrap(), 10, false);
        assert_eq!(token.expires_at.as_deref(), expires_at, "{told}");
        assert_eq!(token.scope.as_deref(), scope, "{told}");
    }
}
