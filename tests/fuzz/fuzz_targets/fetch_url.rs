//! URLs, hosts and networks: what is taken reads the same to every parser, and no list lets anybody
//! reach what nobody may.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use symbolon_agent::{
    fetch::{Allowed, FetchUrl, Host, Network, Reach},
    uri::Uri,
};

/// The parts are those of the text, and others find the same.
fn check(url: &FetchUrl, text: &str) {
    assert!(url.as_str() == text && text.len() <= 2048);
    assert!([url.origin(), url.path(), url.query()].concat() == text);
    assert!(url.origin().ends_with(url.authority()));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    let uri = Uri::parse(text).unwrap();
    let authority = uri.authority.unwrap();
    assert!(!uri.has_user_info() && uri.fragment.is_none());
    assert!(uri.path == url.path());
    assert!(uri.query == url.query().strip_prefix('?'));
    assert!(authority.port.is_none_or(|port| port == url.port()));
    let host = authority.host.to_ascii_lowercase();
    match url.host() {
        Host::Name(name) => {
            assert!(*name == host && name.parse::<IpAddr>().is_err());
            assert!(name.parse::<Host>().as_ref() == Ok(url.host()));
        }
        Host::Address(address) => {
            let text = host.trim_start_matches('[').trim_end_matches(']');
            assert!(text.parse() == Ok(*address));
            let _ = Reach::of(*address);
        }
    }
    // What other programs would be led to.
    if let Ok(other) = text.parse::<http::Uri>() {
        assert!(
            other
                .host()
                .is_some_and(|other| other.eq_ignore_ascii_case(&host))
        );
        let port = if text.starts_with("https") { 443 } else { 80 };
        assert!(other.port_u16().unwrap_or(port) == url.port());
    }
}

/// The same address in all forms that lead there (RFC 6052, RFC 3056, RFC 4291).
fn carried(address: Ipv4Addr, local: [u8; 6]) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = address.octets();
    let segment = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    let (ab, cd) = (segment(a, b), segment(c, d));
    let [e, f, g, h, i, j] = local;
    let tail = [segment(e, f), segment(g, h), segment(i, j)];
    vec![
        address.to_ipv6_mapped(),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, ab, cd),
        Ipv6Addr::new(0x64, 0xff9b, 1, tail[0], tail[1], tail[2], ab, cd),
        Ipv6Addr::new(
            0x64,
            0xff9b,
            1,
            tail[0],
            u16::from(a),
            segment(b, c),
            segment(d, 0),
            0,
        ),
        Ipv6Addr::new(0x64, 0xff9b, 1, segment(e, a), u16::from(b), cd, 0, 0),
        Ipv6Addr::new(0x64, 0xff9b, 1, ab, u16::from(c), segment(d, 0), 0, 0),
        Ipv6Addr::new(
            0x2002,
            ab,
            cd,
            tail[0],
            tail[1],
            tail[2],
            e.into(),
            f.into(),
        ),
    ]
}

fuzz_target!(|input: (&str, Vec<&str>, [u8; 4], [u8; 16], [u8; 6])| {
    let (text, entries, v4, v6, local) = input;
    for text in [
        text,
        &format!("https://{text}"),
        &format!("http://localhost{text}"),
    ] {
        if let Ok(url) = text.parse::<FetchUrl>() {
            check(&url, text);
            assert!(FetchUrl::or_loopback(text).as_ref() == Ok(&url));
        }
        if let Ok(url) = FetchUrl::or_loopback(text) {
            check(&url, text);
            assert!(text.starts_with("https://") || url.is_loopback());
        }
    }
    let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
    if matches!(Reach::of(v4.into()), Reach::Never(_)) {
        for address in carried(v4, local) {
            assert!(
                matches!(Reach::of(address.into()), Reach::Never(_)),
                "{address}"
            );
        }
    }
    for entry in &entries {
        let Ok(network) = entry.parse::<Network>() else {
            continue;
        };
        assert!(network.to_string().parse() == Ok(network));
        // A network that can be listed has something in it that can be reached.
        let is_never = |address: IpAddr| matches!(Reach::of(address), Reach::Never(_));
        for address in [IpAddr::from(v4), IpAddr::from(v6).to_canonical()] {
            assert!(!(network.is_never() && network.contains(address)) || is_never(address));
        }
    }
    if let Ok(allowed) = Allowed::read(&entries) {
        let written: Vec<String> = allowed.entries().collect();
        assert!(Allowed::read(&written).as_ref() == Ok(&allowed));
    }
});
