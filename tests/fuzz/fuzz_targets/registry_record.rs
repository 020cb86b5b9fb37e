//! Documents in the registry's store: any bytes at all, and a version of a
//! client whose parts are the fuzzer's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_agent::registry::fuzzing;

type Texts<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

fuzz_target!(|input: (&[u8], Texts<'_>, u64, u32)| {
    let (document, (client, id, selector, audience, hint), time, count) = input;
    fuzzing::record(document);
    let version = format!(
        r#"{{"version":{{"at":{time},"author":"uid:0","client":{client:?},"number":1,
        "previous":null,"reason":"","spec":{{"audiences":[{audience:?}],"dns_names":[],
        "expires_at":{time},"hint":{hint:?},"jwt_ttl":null,"max_audiences":{count},"owner":"me",
        "purpose":"","selector_sets":[[{selector:?}]],"spiffe_id":"spiffe://example.org/{id}",
        "x509_ttl":{count}}}}}}}"#
    );
    fuzzing::record(version.as_bytes());
});
