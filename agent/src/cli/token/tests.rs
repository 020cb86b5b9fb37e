use super::{
    Token,
    exchange::{Assertion, Broker, Grant, Wanted},
    obtain,
    web::Web,
};
use crate::{
    cli::{
        failure::Failure,
        output::{Look, View as _},
    },
    fetch::testing::{Reply, TestHost, answer, json},
};
use serde_json::{Value, json};

/// An agent that numbers what it makes.
#[derive(Default)]
struct Numbered {
    made: Vec<String>,
}

impl Broker for Numbered {
    async fn assertion(&mut self, server: &str, resource: &str) -> Result<Assertion, Failure> {
        self.made.push(format!("assertion {server} {resource}"));
        let number = self.made.len();
        Ok(Assertion {
            jwt: format!("jwt-{number}"),
            kind: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
            client_id: "https://id.example/clients/web/client.json".to_owned(),
            jti: format!("jti-{number}"),
            spiffe_id: "spiffe://example.org/web".to_owned(),
        })
    }

    async fn proof(
        &mut self,
        target: &str,
        access_token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<String, Failure> {
        let (token, nonce) = (access_token.unwrap_or("-"), nonce.unwrap_or("-"));
        self.made.push(format!("proof {target} {token} {nonce}"));
        Ok(format!("proof-{}", self.made.len()))
    }
}

/// A host that is resource and authorization server; `change` has the last word about each page.
async fn host(change: impl Fn(&str, &str) -> Option<Reply> + Send + Sync + 'static) -> TestHost {
    TestHost::new(move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let base = base(head);
        change(path, head).unwrap_or_else(|| usual(path, &base))
    })
    .await
}

/// The origin that a request was sent to.
fn base(head: &str) -> String {
    let host = head.lines().find_map(|line| line.strip_prefix("host: "));
    format!("https://{}", host.unwrap_or_default())
}

fn server(base: &str) -> Value {
    json!({
        "dpop_signing_alg_values_supported": ["ES256"],
        "grant_types_supported": ["client_credentials"],
        "issuer": format!("{base}/as"),
        "token_endpoint": format!("{base}/as/token?x=1"),
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    })
}

fn resource(base: &str) -> Value {
    json!({"resource": format!("{base}/mcp"), "authorization_servers": [format!("{base}/as")]})
}

fn usual(path: &str, base: &str) -> Reply {
    match path {
        "/mcp" => answer("401 Unauthorized", "WWW-Authenticate: Bearer\r\n", ""),
        "/.well-known/oauth-protected-resource/mcp" => json(&resource(base).to_string()),
        "/.well-known/oauth-authorization-server/as" => json(&server(base).to_string()),
        "/as/token?x=1" => {
            json(r#"{"access_token":"at","token_type":"bearer","expires_in":60,"scope":"a"}"#)
        }
        _ => answer("404 Not Found", "", ""),
    }
}

async fn get(host: &TestHost, broker: &mut Numbered, wanted: Wanted) -> Result<Grant, Failure> {
    let web = Web::new(host.fetcher());
    obtain(&web, broker, &host.url("/mcp"), wanted).await
}

/// The sentence of the failure, with `BASE` for the host.
async fn failure(host: &TestHost, wanted: Wanted) -> String {
    let failed = get(host, &mut Numbered::default(), wanted).await;
    let Err(Failure::Told { told, .. }) = failed else {
        panic!("{failed:?}");
    };
    told.to_string().replace(host.url("").as_str(), "BASE")
}

fn changed(
    path: &'static str,
    change: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> impl Fn(&str, &str) -> Option<Reply> {
    move |asked: &str, head: &str| (asked == path).then(|| change(&base(head)))
}

const PRM: &str = "/.well-known/oauth-protected-resource/mcp";
const ASM: &str = "/.well-known/oauth-authorization-server/as";
const TOKEN: &str = "/as/token?x=1";

#[tokio::test]
async fn a_token_is_got() {
    let host = host(|_path, _head| None).await;
    let mut broker = Numbered::default();
    let wanted = Wanted {
        scope: Some("a b".to_owned()),
        ..Wanted::default()
    };
    let grant = get(&host, &mut broker, wanted).await.unwrap();
    assert_eq!((&*grant.access_token, grant.token_type), ("at", "Bearer"));
    let base = host.url("");
    assert_eq!(broker.made, [format!("assertion {base}/as {base}/mcp")]);
    let requests = host.requests();
    let token = requests.last().unwrap();
    assert!(token.starts_with("POST /as/token?x=1 "), "{token}");
    let look = Look {
        now: 0,
        width: None,
    };
    let shown = Token::new(grant, 0, false);
    assert_eq!(shown.table(&look), "at\n");
    let value = serde_json::to_value(&shown).unwrap();
    assert_eq!(value["expires_at"], "1970-01-01T00:01:00Z");
    let shown = Token {
        is_header: true,
        ..shown
    };
    assert_eq!(shown.table(&look), "Authorization: Bearer at\n");
}

#[tokio::test]
async fn the_resource_may_say_where_its_metadata_are() {
    let host = host(|path, head| match path {
        "/mcp" => {
            let named = format!("Bearer resource_metadata=\"{}/elsewhere\"", base(head));
            let headers = format!("WWW-Authenticate: {named}, scope=\"s\"\r\n");
            Some(answer("401 Unauthorized", &headers, ""))
        }
        "/elsewhere" => Some(json(&resource(&base(head)).to_string())),
        PRM => Some(answer("500 No", "", "")),
        _ => None,
    })
    .await;
    get(&host, &mut Numbered::default(), Wanted::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn dpop_binds_token_and_proofs() {
    let host = host(|path, head| {
        let reply = match (path, head.contains("dpop: proof-4")) {
            (TOKEN, false) => answer(
                "400 Bad Request",
                "DPoP-Nonce: n1\r\n",
                r#"{"error":"use_dpop_nonce"}"#,
            ),
            (TOKEN, true) => json(r#"{"access_token":"at","token_type":"DPoP"}"#),
            _ => return None,
        };
        Some(reply)
    })
    .await;
    let mut broker = Numbered::default();
    let wanted = Wanted {
        dpop: true,
        ..Wanted::default()
    };
    let grant = get(&host, &mut broker, wanted).await.unwrap();
    let base = host.url("");
    assert_eq!(
        broker.made,
        [
            format!("assertion {base}/as {base}/mcp"),
            format!("proof {base}/as/token - -"),
            format!("assertion {base}/as {base}/mcp"),
            format!("proof {base}/as/token - n1"),
            format!("proof {base}/mcp at -"),
        ]
    );
    let look = Look {
        now: 0,
        width: None,
    };
    let shown = Token::new(grant, 0, true).table(&look);
    assert_eq!(shown, "Authorization: DPoP at\nDPoP: proof-5\n");
}

/// A host where one page is this.
async fn with(path: &'static str, value: fn(&str) -> Value) -> TestHost {
    host(changed(path, move |base| json(&value(base).to_string()))).await
}

#[tokio::test]
async fn resources_have_to_say_who_they_are() {
    for (host, sentence) in [
        (
            host(changed(PRM, |_base| answer("500 Oh", "", "no\u{1b}[0m"))).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource: answered 404 Not \
             Found, where the document should be",
        ),
        (
            with(PRM, |_base| json!([])).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: answered 200 \
             OK ([]), which is not one JSON object with distinct names",
        ),
        (
            with(PRM, |_base| json!({"resource": "https://other.test/mcp"})).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: is about \
             https://other.test/mcp, not about BASE/mcp",
        ),
        (
            with(PRM, |base| json!({"resource": format!("{base}/m")})).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: is about \
             BASE/m, not about BASE/mcp",
        ),
        (
            with(PRM, |base| json!({"resource": format!("{base}/")})).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: names no \
             authorization server",
        ),
    ] {
        assert_eq!(failure(&host, Wanted::default()).await, sentence);
    }
}

#[tokio::test]
async fn failures_name_the_step_and_what_the_server_answered() {
    for (host, sentence) in [
        (
            with(ASM, |base| json!({"issuer": format!("{base}/as/")})).await,
            "the authorization server's metadata: \
             BASE/.well-known/oauth-authorization-server/as: is of the issuer BASE/as/, not of \
             BASE/as",
        ),
        (
            with(
                ASM,
                |base| json!({"issuer": format!("{base}/as"), "grant_types_supported": ["x"]}),
            )
            .await,
            "the authorization server's metadata: \
             BASE/.well-known/oauth-authorization-server/as: does not have client_credentials in \
             grant_types_supported: it gives us no tokens",
        ),
        (
            with(
                ASM,
                |base| json!({"issuer": format!("{base}/as"), "token_endpoint": "http://x.test/"}),
            )
            .await,
            "the authorization server's metadata: http://x.test/: no URL to go to: plain http is \
             for loopback addresses and localhost only",
        ),
        (
            host(changed(TOKEN, |_base| {
                let body = r#"{"error":"invalid_client","error_description":"no\u001b"}"#;
                answer("401 Unauthorized", "", body)
            }))
            .await,
            "the token request: BASE/as/token?x=1: answered 401 Unauthorized (invalid_client: \
             no\\u{1b}), and gave no token",
        ),
        (
            with(
                TOKEN,
                |_base| json!({"access_token": "a b", "token_type": "Bearer"}),
            )
            .await,
            "the token request: BASE/as/token?x=1: the answer has no access_token that a header \
             can carry",
        ),
        (
            with(
                TOKEN,
                |_base| json!({"access_token": "a", "token_type": "mac"}),
            )
            .await,
            "the token request: BASE/as/token?x=1: the token is of type mac, not Bearer",
        ),
    ] {
        assert_eq!(failure(&host, Wanted::default()).await, sentence);
    }
}

#[tokio::test]
async fn servers_are_not_chosen_freely() {
    let host = host(|_path, _head| None).await;
    let wanted = Wanted {
        authorization_server: Some("https://other.test".to_owned()),
        ..Wanted::default()
    };
    let sentence = failure(&host, wanted).await;
    assert!(
        sentence.ends_with("does not name the authorization server https://other.test"),
        "{sentence}"
    );
    let dpop = Wanted {
        dpop: true,
        ..Wanted::default()
    };
    let plain = self::host(changed(ASM, |base| {
        json(&json!({"issuer": format!("{base}/as"), "token_endpoint": base}).to_string())
    }))
    .await;
    let sentence = failure(&plain, dpop).await;
    assert!(
        sentence.contains("does not say that it takes DPoP"),
        "{sentence}"
    );
    // Nothing was asked of the token endpoint.
    assert!(!plain.requests().iter().any(|head| head.starts_with("POST")));
}
