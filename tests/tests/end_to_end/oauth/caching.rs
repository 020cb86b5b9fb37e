//! The same with a server that keeps keys: npm's `jose` with its cache of a client's JWKS.

use symbolon_tests::{Program, Setup, credentials_api, within};

use super::{Peers, part, text};

const SERVER: &str = "caching_server.js";

/// What `jose` says of an assertion by a key that is not in the set that it has.
const NO_KEY: &str = "no applicable key";

/// A server that keeps keys for as long as their `Cache-Control` says.
async fn keeping_as_told(setup: impl FnOnce(Setup) -> Setup) -> Option<Peers> {
    let peers = Peers::with(setup, SERVER, &[]).await?;
    peers.register(&[Program::itself().selectors()]).await;
    Some(peers)
}

impl Peers {
    /// Why the server refuses this assertion; none where it grants a token.
    async fn refusal(&mut self, assertion: &str) -> Option<String> {
        let (status, answer) = self.token(assertion).await;
        if status == 200 {
            return None;
        }
        assert_eq!(answer["error"], "invalid_client", "{answer}");
        let told = self.server.next_of_kind("refused").await;
        Some(text(&told, "description"))
    }
}

#[tokio::test]
async fn a_rotation_fails_no_request_at_a_server_that_keeps_keys() {
    let rotating = |setup: Setup| {
        setup
            .set("authority", "jwks_cache", "1s")
            .set("credentials_api", "assertion_ttl", "5s")
            .set("credentials_api", "client_key_lead", "3s")
            .set("credentials_api", "client_key_ttl", "13s")
    };
    let Some(mut peers) = keeping_as_told(rotating).await else {
        return;
    };
    peers.outlive_two_rotations().await;
}

#[tokio::test]
async fn a_replaced_key_is_refused_when_its_time_in_a_cache_is_over() {
    let short = |setup: Setup| setup.set("authority", "jwks_cache", "2s");
    let Some(mut peers) = keeping_as_told(short).await else {
        return;
    };
    let (stolen, used) = (peers.assertion().await, peers.assertion().await);
    assert_eq!(peers.refusal(&used).await, None);
    peers.replace_key().await;
    // It is good for its signature as long as the key is in the cache.
    let refused = within("the end of the old key", async {
        loop {
            match peers.refusal(&used).await {
                Some(reason) if reason.contains("only be used once") => {}
                other => return other,
            }
        }
    });
    let refused = refused.await.expect("a reason");
    assert!(refused.contains(NO_KEY), "{refused}");
    let after = peers.assertion().await;
    assert_ne!(part(&after, 0)["kid"], part(&used, 0)["kid"]);
    assert_eq!(peers.refusal(&after).await, None);
    let refused = peers.refusal(&stolen).await.expect("a reason");
    assert!(refused.contains(NO_KEY), "{refused}");
}

/// `jose` left to itself keeps keys for ten minutes, and asks for those that it does not know once
/// its cool-down is over: here a second after it asked last, for which it takes half a minute.
#[tokio::test]
async fn a_server_that_is_left_to_itself_learns_of_a_replaced_key_from_the_new_one() {
    let Some(mut peers) =
        Peers::with(|setup| setup, SERVER, &["--stock", "--cool-down", "1"]).await
    else {
        return;
    };
    peers.register(&[Program::itself().selectors()]).await;
    let (first, second) = (peers.assertion().await, peers.assertion().await);
    let stolen = peers.assertion().await;
    assert_eq!(peers.refusal(&first).await, None);
    peers.replace_key().await;
    // Nothing that the agent does ends what a server keeps.
    assert_eq!(peers.refusal(&second).await, None);
    let mut api = credentials_api(&peers.agent).await;
    let accepted = within("a token by the new key", async {
        loop {
            let assertion = peers.assertion_by(&mut api).await;
            match peers.refusal(&assertion).await {
                Some(reason) => assert!(reason.contains(NO_KEY), "{reason}"),
                None => return,
            }
        }
    });
    accepted.await;
    let refused = peers.refusal(&stolen).await.expect("a reason");
    assert!(refused.contains(NO_KEY), "{refused}");
}
