use super::{
    Token, discovery,
    exchange::{Assertion, Broker, Grant, Wanted},
    obtain,
    web::Web,
};
use crate::{
    cli::{
        failure::Failure,
        output::{Look, View as _},
    },
    fetch::{
        FetchUrl,
        testing::{Reply, TestHost, answer, json},
    },
};
use serde_json::{Value, json};

mod attacks;

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
    told(failed).replace(host.url("").as_str(), "BASE")
}

fn told(failed: Result<Grant, Failure>) -> String {
    let Err(Failure::Told { told, .. }) = failed else {
        panic!("{failed:?}");
    };
    told.to_string()
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
async fn what_the_resource_needs_is_asked_for() {
    let listed = |list: Value| {
        changed(PRM, move |base| {
            let mut resource = resource(base);
            resource["scopes_supported"] = list.clone();
            json(&resource.to_string())
        })
    };
    for (list, scope) in [
        (json!(["a", "b:c"]), Some("a b:c")),
        (json!(["a b", "", "c\n", "\"", "d\\", 1, "e"]), Some("e")),
        (json!([]), None),
        (json!("a"), None),
    ] {
        let host = host(listed(list.clone())).await;
        let web = Web::new(host.fetcher());
        let found = discovery::discover(&web, &host.url("/mcp"), &Wanted::default()).await;
        assert_eq!(found.unwrap().scope.as_deref(), scope, "{list}");
    }
    // What it says when it refuses is about this request.
    let refusing = host(move |path, head| match path {
        "/mcp" => {
            let headers = "WWW-Authenticate: Bearer scope=\"s\"\r\n";
            Some(answer("401 Unauthorized", headers, ""))
        }
        _ => listed(json!(["a"]))(path, head),
    })
    .await;
    let web = Web::new(refusing.fetcher());
    let found = discovery::discover(&web, &refusing.url("/mcp"), &Wanted::default()).await;
    assert_eq!(found.unwrap().scope.as_deref(), Some("s"));
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
            with(PRM, |base| json!({"resource": format!("{base}/mcp/")})).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: names no \
             authorization server",
        ),
        (
            with(PRM, |base| json!({"resource": format!("{base}/mcp//")})).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: is about \
             BASE/mcp//, not about BASE/mcp",
        ),
        (
            with(PRM, |base| json!({"resource": format!("{base}/mcp?x")})).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: is about \
             BASE/mcp?x, not about BASE/mcp",
        ),
        (
            with(PRM, |base| json!({"resource": format!("{base}/")})).await,
            "the resource's metadata: BASE/.well-known/oauth-protected-resource/mcp: is about \
             BASE/, not about BASE/mcp\n  What is below BASE/ may take such a token from whoever \
             has it. If you trust BASE/mcp with that, add: --resource BASE/",
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
            "the authorization server's metadata: http://x.test/: no URL to go to: does not start \
             with https://",
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
            "the token request: BASE/as/token?x=1: the token's type is not Bearer",
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

/// The token must not stand in what is said of an answer, however the server wrote it.
#[tokio::test]
async fn tokens_are_not_shown_where_the_answer_is_not_understood() {
    const CREATED: &str = r#"{"access_token":"secret","token_type":"Bearer","error":"secret"}"#;
    for (status, body, said) in [
        ("200 OK", "access_token=secret&token_type=Bearer", Some("")),
        (
            "200 OK",
            r#"{"access_token":"a","access_token":"secret"}"#,
            Some(""),
        ),
        ("200 OK", r#"{"error":"secret","error":"secret"}"#, Some("")),
        (
            "200 OK",
            r#"{"access_token":"a","token_type":"secret"}"#,
            None,
        ),
        ("201 Created", CREATED, Some("")),
        ("201 Created", "secret", Some("")),
        ("400 Bad Request", "access_token=secret", Some("")),
        ("400 Bad Request", r#"{"access_token":"secret"}"#, Some("")),
        (
            "400 Bad Request",
            r#"{"access_token":"secret","error":"a\u0007"}"#,
            Some(" (a\\u{7})"),
        ),
    ] {
        let host = host(changed(TOKEN, move |_base| answer(status, "", body))).await;
        let sentence = failure(&host, Wanted::default()).await;
        assert!(!sentence.contains("secret"), "{sentence}");
        if let Some(said) = said {
            let start = format!("the token request: BASE/as/token?x=1: answered {status}{said}, ");
            assert!(sentence.starts_with(&start), "{sentence}");
        }
    }
    let long = host(changed(TOKEN, |_base| {
        let body = json!({"error": "e", "error_description": "d".repeat(9_000)}).to_string();
        answer("400 Bad Request", "", &body)
    }))
    .await;
    let sentence = failure(&long, Wanted::default()).await;
    assert!(sentence.len() < 400, "{sentence}");
}

/// A tenant of a host must not get a token for its neighbours, unless the user says so.
#[tokio::test]
async fn wider_resources_are_named_by_the_user_only() {
    let host = with(PRM, |base| {
        json!({"resource": format!("{base}/"), "authorization_servers": [format!("{base}/as")]})
    })
    .await;
    let sentence = failure(&host, Wanted::default()).await;
    assert!(
        sentence.contains("is about BASE/, not about BASE/mcp"),
        "{sentence}"
    );
    let metadata = host.requests();
    assert!(metadata.last().unwrap().contains(PRM), "{metadata:?}");
    let wanted = Wanted {
        resource: Some(discovery::wider(host.url("").as_str(), &host.url("/mcp")).unwrap()),
        ..Wanted::default()
    };
    let mut broker = Numbered::default();
    let grant = get(&host, &mut broker, wanted.clone()).await.unwrap();
    let base = host.url("");
    assert_eq!(grant.resource, format!("{base}/"));
    assert_eq!(broker.made, [format!("assertion {base}/as {base}/")]);
    // The wider one has to say who it is, too.
    let narrow = self::host(|_path, _head| None).await;
    let wanted = Wanted {
        resource: Some(narrow.url("")),
        ..wanted
    };
    let sentence = failure(&narrow, wanted).await;
    let end = "is about BASE/mcp, not about BASE\n  Leave --resource out.";
    assert!(sentence.ends_with(end), "{sentence}");
}

#[tokio::test]
async fn the_query_is_part_of_the_resource() {
    let host = host(|path, head| {
        let base = base(head);
        match path {
            "/.well-known/oauth-protected-resource/mcp?t=1" => {
                let mut resource = resource(&base);
                resource["resource"] = format!("{base}/mcp?t=1").into();
                Some(json(&resource.to_string()))
            }
            "/.well-known/oauth-protected-resource/mcp?t=2" => {
                Some(json(&resource(&base).to_string()))
            }
            _ => None,
        }
    })
    .await;
    let web = Web::new(host.fetcher());
    let mut broker = Numbered::default();
    let same = host.url("/mcp?t=1");
    let grant = obtain(&web, &mut broker, &same, Wanted::default()).await;
    assert_eq!(grant.unwrap().resource, same.as_str());
    let other = host.url("/mcp?t=2");
    let sentence = told(obtain(&web, &mut broker, &other, Wanted::default()).await);
    let part = format!("is about {}, not about {other}\n", host.url("/mcp"));
    assert!(sentence.contains(&part), "{sentence}");
}

#[test]
fn wider_resources_are_on_the_way_to_the_url() {
    let typed: FetchUrl = "https://a.example/x/mcp?q".parse().unwrap();
    for text in [
        "https://a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://a.example/x/",
        "https://a.example/x/mcp",
    ] {
        assert_eq!(
            discovery::wider(text, &typed).unwrap().as_str(),
            text,
            "{text}"
        );
    }
    for text in [
        "https://b.example/x",
        "https://a.example:444/x",
        "http://a.example/x",
        "https://a.example/y",
        "https://a.example/x/mc",
        "https://a.example/x/mcp/y",
        "https://a.example//",
        "https://a.example/x?q",
        "https://a.example/x/mcp?q",
        "https://a.example/x#q",
        "a.example",
    ] {
        assert!(discovery::wider(text, &typed).is_err(), "{text}");
    }
}

/// What a stranger names is not taken for what the user may ask for on his machine.
#[tokio::test]
async fn plain_http_is_for_users_who_begin_on_this_machine() {
    fn plain(base: &str) -> String {
        let port = base.rsplit(':').next().unwrap();
        format!("http://127.0.0.1:{port}/plain")
    }
    let challenge = |base: &str| {
        let named = format!("Bearer resource_metadata=\"{}\"", plain(base));
        let headers = format!("WWW-Authenticate: {named}\r\n");
        answer("401 Unauthorized", &headers, "")
    };
    let resource = |base: &str| {
        let mut resource = resource(base);
        resource["authorization_servers"] = json!([plain(base)]);
        json(&resource.to_string())
    };
    let server = |base: &str| {
        let mut server = server(base);
        server["token_endpoint"] = plain(base).into();
        json(&server.to_string())
    };
    for (host, step) in [
        (
            host(changed("/mcp", challenge)).await,
            "the resource's metadata",
        ),
        (
            host(changed(PRM, resource)).await,
            "the authorization server's metadata",
        ),
        (
            host(changed(ASM, server)).await,
            "the authorization server's metadata",
        ),
    ] {
        let url = plain(host.url("").as_str());
        assert_eq!(
            failure(&host, Wanted::default()).await,
            format!("{step}: {url}: no URL to go to: does not start with https://")
        );
        // From this machine the way leads there, where nobody talks without TLS.
        let typed = format!("https://127.0.0.1:{}/mcp", host.port);
        let web = Web::new(host.fetcher());
        let typed = typed.parse().unwrap();
        let failed = obtain(&web, &mut Numbered::default(), &typed, Wanted::default()).await;
        let sentence = told(failed);
        assert!(!sentence.contains("no URL to go to"), "{sentence}");
        assert!(sentence.contains(": http://127.0.0.1:"), "{sentence}");
    }
}
