use super::{
    Allowed, Ask, FetchError, FetchUrl, Fetched, Fetcher, Limits, Media, Reader, Roots, Step,
    testing::{NAME, Names, Reply, TestHost, answer, json},
    trusting_roots,
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::AUTHORIZATION};
use std::{process::Command, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Long enough for every machine; what hangs is waited for with [`soon`].
const LIMITS: Limits = Limits {
    total: Duration::from_secs(60),
    resolve: Duration::from_secs(60),
    connect: Duration::from_secs(60),
    tls: Duration::from_secs(60),
    bytes: 1_000,
    media: Media::Json,
};

/// For servers that never answer.
fn soon() -> Duration {
    Duration::from_millis(50)
}

async fn asked(reply: Reply) -> Result<Fetched, FetchError> {
    let host = TestHost::new(move |_head| reply.clone()).await;
    host.fetcher().get(&host.url("/a"), LIMITS).await
}

#[tokio::test]
async fn a_document_is_fetched() {
    let host = TestHost::new(|_head| json("{}")).await;
    let fetched = host.fetcher().get(&host.url("/a?b=c"), LIMITS).await;
    let fetched = fetched.unwrap();
    assert_eq!(
        (fetched.status, &*fetched.body),
        (StatusCode::OK, &b"{}"[..])
    );
    assert_eq!(fetched.header("content-type"), Some("application/json"));
    assert_eq!(fetched.header("etag"), None);
    let requests = host.requests();
    let [head] = &*requests else {
        panic!("{requests:?}")
    };
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    let named = format!("host: {NAME}:{}\r\n", host.port);
    assert!(head.to_ascii_lowercase().contains(&named), "{head}");
    assert!(head.contains("symbolon/"), "{head}");
    for absent in ["cookie", "authorization", "referer", "range"] {
        assert!(!head.to_ascii_lowercase().contains(absent), "{head}");
    }
}

#[tokio::test]
async fn readers_do_not_look_alike() {
    let host = TestHost::new(|head| json(if head.contains("symbolon") { "1" } else { "2" })).await;
    let (fetcher, url) = (host.fetcher(), host.url("/a"));
    for (reader, body) in [(Reader::Agent, "1"), (Reader::AuthorizationServer, "2")] {
        let fetched = fetcher.get_as(reader, &url, LIMITS).await.unwrap();
        assert_eq!(fetched.body, body);
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_all_its_addresses_are_judged() {
    let host = TestHost::new(|_head| json("{}")).await;
    // The second answer would lead elsewhere.
    let names = Arc::new(Names::new(&[&["127.0.0.1"], &["169.254.169.254"]]));
    let fetcher = host.fetcher().with_resolver(Arc::<Names>::clone(&names));
    fetcher.get(&host.url("/a"), LIMITS).await.unwrap();
    assert_eq!(names.asked(), [NAME]);
    let changed = fetcher.get(&host.url("/a"), LIMITS).await;
    assert_eq!(changed.unwrap_err().class(), "address");
    for answer in [
        &["127.0.0.1", "10.0.0.1"][..],
        &["1.1.1.1", "169.254.169.254"],
        &["::1"],
        &["127.0.0.2"],
        &["::ffff:169.254.169.254"],
        &["0.0.0.0"],
    ] {
        let fetcher = fetcher.with_resolver(Arc::new(Names::new(&[answer])));
        let refused = fetcher.get(&host.url("/a"), LIMITS).await;
        assert_eq!(refused.unwrap_err().class(), "address", "{answer:?}");
    }
    assert_eq!(host.requests().len(), 1);
}

#[tokio::test]
async fn only_listed_hosts_lead_to_this_machine() {
    let host = TestHost::new(|_head| json("{}")).await;
    let tls = trusting_roots(Some(host.ca_file.path())).unwrap();
    let names = Arc::new(Names::loopback());
    let fetcher = |allowed: &[&str]| {
        let allowed = Allowed::read(allowed.iter().copied()).unwrap();
        let resolver = Arc::<Names>::clone(&names);
        Fetcher::new(allowed, Arc::clone(&tls)).with_resolver(resolver)
    };
    let by_address: FetchUrl = format!("https://127.0.0.1:{}/a", host.port)
        .parse()
        .unwrap();
    for (allowed, url, may) in [
        (&[][..], host.url("/a"), false),
        (&[NAME], host.url("/a"), true),
        (&["127.0.0.0/8"], host.url("/a"), true),
        (&["other.test"], host.url("/a"), false),
        (&[], by_address.clone(), false),
        (&["127.0.0.1"], by_address, true),
    ] {
        let fetched = fetcher(allowed).get(&url, LIMITS).await;
        assert_eq!(fetched.is_ok(), may, "{allowed:?} {url} {fetched:?}");
    }
    let never = Allowed::read(["0.0.0.0/0", "::/0"]).unwrap();
    let fetcher = Fetcher::new(never, tls);
    for url in [
        "https://169.254.169.254/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1]/",
    ] {
        let refused = fetcher.get(&url.parse().unwrap(), LIMITS).await;
        assert_eq!(refused.unwrap_err().class(), "address", "{url}");
    }
}

#[tokio::test]
async fn plain_http_is_for_this_machine_alone() {
    let host = TestHost::new(|_head| json("{}")).await;
    let tls = trusting_roots(Some(host.ca_file.path())).unwrap();
    let away = Arc::new(Names::new(&[&["1.1.1.1"]]));
    let fetcher = Fetcher::unguarded(tls).with_resolver(away);
    let url = FetchUrl::or_loopback("http://localhost/").unwrap();
    let refused = fetcher.get(&url, LIMITS).await.unwrap_err();
    assert_eq!(refused.class(), "address");
}

#[tokio::test]
async fn names_without_an_address_are_told() {
    let host = TestHost::new(|_head| json("{}")).await;
    for answers in [&[][..], &[&[][..]]] {
        let fetcher = host.fetcher().with_resolver(Arc::new(Names::new(answers)));
        let error = fetcher.get(&host.url("/a"), LIMITS).await.unwrap_err();
        assert_eq!(error.class(), "unresolved");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Again",
        "308 Moved",
    ] {
        let reply = answer(status, "Location: https://127.0.0.1/\r\n", "");
        let error = asked(reply).await.unwrap_err();
        assert!(matches!(error, FetchError::Redirected(_)), "{status}");
    }
}

#[tokio::test]
async fn only_status_200_is_a_document() {
    for status in [
        "201 Created",
        "204 Nothing",
        "206 Part",
        "404 Not Found",
        "500 Oh",
    ] {
        let error = asked(answer(status, "Content-Type: application/json\r\n", "")).await;
        assert!(matches!(error, Err(FetchError::Status(_))), "{status}");
    }
}

#[tokio::test]
async fn only_json_is_a_document() {
    for (headers, is_json) in [
        ("Content-Type: application/json\r\n", true),
        ("Content-Type: Application/JSON; charset=utf-8\r\n", true),
        ("Content-Type: application/jwk-set+json\r\n", true),
        ("Content-Type: application/cimd+json;a=b\r\n", true),
        ("", false),
        ("Content-Type: text/html\r\n", false),
        ("Content-Type: text/json\r\n", false),
        ("Content-Type: application/jsonp\r\n", false),
        ("Content-Type: application/json, text/html\r\n", false),
        (
            "Content-Type: application/json\r\nContent-Type: text/html\r\n",
            false,
        ),
        ("Content-Type: \u{1}\r\n", false),
    ] {
        let fetched = asked(answer("200 OK", headers, "{}")).await;
        assert_eq!(fetched.is_ok(), is_json, "{headers:?} {fetched:?}");
    }
    let named = asked(answer("200 OK", "Content-Type: a\"b\u{fc}\r\n", "{}")).await;
    let text = named.unwrap_err().to_string();
    assert_eq!(
        text,
        r#"the answer's content type is "a\"b\xc3\xbc", not JSON"#
    );
}

#[tokio::test]
async fn encoded_answers_are_refused() {
    for encoding in ["gzip", "br", "identity, gzip", ""] {
        let headers = format!("Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n");
        let error = asked(answer("200 OK", &headers, "{}")).await.unwrap_err();
        assert_eq!(error.class(), "encoding", "{encoding}");
    }
    let headers = "Content-Type: application/json\r\nContent-Encoding: Identity\r\n";
    asked(answer("200 OK", headers, "{}")).await.unwrap();
}

#[tokio::test]
async fn large_bodies_are_not_read() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let just = asked(json(&"1".repeat(1_000))).await.unwrap();
    assert_eq!(just.body.len(), 1_000);
    let announced = format!("{HEAD}Content-Length: 1001\r\n\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 512, " ".repeat(512));
    for reply in [
        json(&"1".repeat(1_001)),
        // Nothing of this body ever comes.
        Reply::Stalled(announced.into_bytes()),
        Reply::Endless(
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
            chunk.into_bytes(),
        ),
        Reply::Endless(format!("{HEAD}\r\n").into_bytes(), vec![b' '; 4_096]),
    ] {
        let error = asked(reply.clone()).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge(1_000)),
            "{error} {reply:?}"
        );
    }
}

#[tokio::test]
async fn endless_heads_are_not_read() {
    let many = "A: b\r\n".repeat(65);
    for reply in [
        Reply::Endless(b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; 4_096]),
        Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".to_vec()),
        answer("200 OK", &many, "{}"),
    ] {
        assert_eq!(asked(reply).await.unwrap_err().class(), "http");
    }
}

#[tokio::test]
async fn answers_that_are_no_http_are_refused() {
    for bytes in [
        "",
        "{}",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nz",
    ] {
        let error = asked(Reply::Whole(bytes.into())).await.unwrap_err();
        assert_eq!(error.class(), "http", "{bytes:?}");
    }
}

#[tokio::test]
async fn slow_servers_are_left() {
    let limits = Limits {
        total: soon(),
        ..LIMITS
    };
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    for reply in [
        Reply::Stalled(Vec::new()),
        Reply::Stalled(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Reply::Stalled(head.to_vec()),
        Reply::Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
    ] {
        let host = TestHost::new(move |_head| reply.clone()).await;
        let error = host.fetcher().get(&host.url("/a"), limits).await;
        let error = error.unwrap_err();
        let timed_out = matches!(
            error,
            FetchError::TimedOut {
                step: Step::Answer,
                ..
            }
        );
        assert!(timed_out, "{error}");
    }
    let silent = TestHost::new(|_head| Reply::Silent).await;
    let limits = Limits {
        tls: soon(),
        ..LIMITS
    };
    let error = silent.fetcher().get(&silent.url("/a"), limits).await;
    let error = error.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::TimedOut {
                step: Step::Tls,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn servers_have_to_be_who_they_say() {
    let (one, other) = (
        TestHost::new(|_head| json("{}")).await,
        TestHost::new(|_head| json("{}")).await,
    );
    let error = one.fetcher().get(&other.url("/a"), LIMITS).await;
    assert_eq!(error.unwrap_err().class(), "tls");
    let url = format!("https://other.test:{}/a", one.port);
    let error = one.fetcher().get(&url.parse().unwrap(), LIMITS).await;
    assert_eq!(error.unwrap_err().class(), "tls");
    assert_eq!(one.requests().len() + other.requests().len(), 0);
}

#[tokio::test]
async fn nobody_there_is_told() {
    let host = TestHost::new(|_head| json("{}")).await;
    // Bound, so that nobody else is there; and not listening.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = bound.local_addr().unwrap().port();
    let url = format!("https://127.0.0.1:{port}/a").parse().unwrap();
    let error = host.fetcher().get(&url, LIMITS).await.unwrap_err();
    assert_eq!(error.class(), "connect");
}

#[tokio::test]
async fn other_requests_get_any_answer() {
    let host = TestHost::new(|_head| answer("401 No", "WWW-Authenticate: DPoP\r\n", "no")).await;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("DPoP x"));
    let ask = Ask {
        method: Method::POST,
        headers,
        body: Bytes::from_static(b"a=b"),
    };
    let fetched = host.fetcher().send(&host.url("/token"), ask, LIMITS).await;
    let fetched = fetched.unwrap();
    assert_eq!((fetched.status.as_u16(), &*fetched.body), (401, &b"no"[..]));
    assert_eq!(fetched.header("www-authenticate"), Some("DPoP"));
    let head = host.requests().concat();
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("DPoP x") && head.to_ascii_lowercase().contains("content-length: 3"));
}

#[test]
fn there_is_somebody_to_trust() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let error = trusting_roots(Some(empty.path())).unwrap_err().to_string();
    assert!(error.ends_with("has no certificate authority"), "{error}");
    let error = trusting_roots(Some("/nonexistent".as_ref())).unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent cannot be read"),
        "{error}"
    );
}

#[tokio::test]
async fn authorities_are_read_again_while_they_are_used() {
    let host = TestHost::new(|_head| json("{}")).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| std::fs::write(file.path(), text).unwrap();
    let roots = Roots::new(Some(file.path().to_owned()));
    let fetcher = host.fetcher().with_trust(Arc::clone(&roots));
    let ask = async || {
        let asked = fetcher.get(&host.url("/a"), LIMITS).await;
        asked.map_err(|error| error.class())
    };
    // Nothing to trust yet, which is not kept.
    assert_eq!(ask().await.unwrap_err(), "tls");
    let stranger = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    write(&stranger.cert.pem());
    assert_eq!(ask().await.unwrap_err(), "tls");
    write(&std::fs::read_to_string(host.ca_file.path()).unwrap());
    let later = async || {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
    };
    let before = roots.current().await.unwrap();
    assert!(Arc::ptr_eq(&before, &roots.current().await.unwrap()));
    later().await;
    ask().await.unwrap();
    // What cannot be read takes nothing away.
    write("-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n");
    later().await;
    ask().await.unwrap();
    write(&stranger.cert.pem());
    later().await;
    assert_eq!(ask().await.unwrap_err(), "tls");
    // Whoever takes the last one out means it.
    write(&std::fs::read_to_string(host.ca_file.path()).unwrap());
    later().await;
    ask().await.unwrap();
    write("");
    later().await;
    assert_eq!(ask().await.unwrap_err(), "tls");
}

/// The attack on oneself: a file system that does not answer.
#[tokio::test]
async fn authorities_that_cannot_be_read_in_time_are_waited_for_once() {
    let host = TestHost::new(|_head| json("{}")).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let pem = std::fs::read(host.ca_file.path()).unwrap();
    std::fs::write(&path, &pem).unwrap();
    let roots = Roots::new(Some(path.clone()));
    let before = roots.current().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    // Whoever comes meanwhile has the old ones, and waits no longer than the first.
    let all = join_all((0..20).map(|_request| roots.current()));
    let all = timeout(Duration::from_secs(30), all).await;
    for now in all.unwrap() {
        assert!(Arc::ptr_eq(&before, &now.unwrap()));
    }
    // Ends the read, which is still the only one.
    std::fs::write(&path, &pem).unwrap();
}
