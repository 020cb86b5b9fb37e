//! Federations with foreign trust domains survive a crash as registrations do.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use symbolon_proto::admin::admin_client::AdminClient;
use symbolon_proto::admin::{AddTrustDomainRequest, BundleEndpoint, RemoveTrustDomainRequest};
use symbolon_tests::{Agent, Setup, channel, within};
use tonic::Status;
use tonic::transport::Channel;

use super::AT_ONCE;

type Admin = AdminClient<Channel>;

/// Of an endpoint that is never asked: no loopback address is allowed.
async fn add(mut admin: Admin, name: String) -> Result<String, Status> {
    let endpoint = BundleEndpoint {
        url: "https://127.0.0.1/bundle".to_owned(),
        profile: "https_web".to_owned(),
        ..BundleEndpoint::default()
    };
    let request = AddTrustDomainRequest {
        name: name.clone(),
        endpoint: Some(endpoint),
        reason: "a test".to_owned(),
        replace: false,
    };
    admin.add_trust_domain(request).await.map(|_| name)
}

async fn remove(mut admin: Admin, name: String) -> Result<String, Status> {
    let reason = "a test".to_owned();
    let request = RemoveTrustDomainRequest { name, reason };
    let removed = admin.remove_trust_domain(request).await?;
    Ok(removed.into_inner().name)
}

/// What was confirmed before a crash.
#[derive(Default)]
struct Confirmed {
    added: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Confirmed {
    /// Adds trust domains until `count` are confirmed, removes some of those of before beside it,
    /// and crashes with others under way.
    async fn crash_after(&mut self, agent: Agent, round: usize, count: usize) -> Setup {
        let admin = AdminClient::new(channel(&agent.setup().admin_socket()).await);
        let mut names = (0..).map(|number| format!("d{number}.r{round}.example"));
        let before: Vec<_> = self.added.difference(&self.removed).cloned().collect();
        let removals = before.into_iter().step_by(2);
        let mut removing: FuturesUnordered<_> =
            removals.map(|name| remove(admin.clone(), name)).collect();
        let first = names.by_ref().take(AT_ONCE);
        let mut adding: FuturesUnordered<_> = first.map(|name| add(admin.clone(), name)).collect();
        for _confirmed in 0..count {
            let done = within("a federation", adding.next()).await;
            let done = done.expect("some are under way").expect("federated");
            self.added.insert(done);
            adding.push(add(admin.clone(), names.next().expect("endless")));
            // Some stay under way.
            if removing.len() > 2
                && let Some(done) = within("a removal", removing.next()).await
            {
                self.removed.insert(done.expect("removed"));
            }
        }
        agent.signal(rustix::process::Signal::KILL);
        // Answers that were on their way count as well.
        while let Some(done) = within("an end", adding.next()).await {
            self.added.extend(done);
        }
        while let Some(done) = within("an end", removing.next()).await {
            self.removed.extend(done);
        }
        agent.ended().await.setup
    }
}

#[tokio::test]
async fn no_confirmed_federation_is_lost_in_a_crash_and_none_comes_back() {
    let mut setup = Setup::new();
    let mut confirmed = Confirmed::default();
    for (round, count) in [3, 7, 20].into_iter().enumerate() {
        let agent = setup.start().await;
        setup = confirmed.crash_after(agent, round, count).await;
    }
    let agent = setup.start().await;
    let list = agent.json(["federation", "list"]).await;
    let shown = list["trust_domains"].as_array().expect("trust domains");
    let named = |state: &str| -> BTreeSet<String> {
        let these = shown.iter().filter(|it| it["state"] == state);
        let names = these.map(|it| it["trust_domain"].as_str().expect("a name").to_owned());
        names.collect()
    };
    let (active, removed) = (named("active"), named("removed"));
    assert!(!confirmed.removed.is_empty());
    assert!(confirmed.removed.is_subset(&removed), "{removed:?}");
    let all: BTreeSet<_> = active.union(&removed).cloned().collect();
    assert!(confirmed.added.is_subset(&all), "{all:?}");

    let trail = agent.audit().await;
    for (operation, names) in [("federated", &all), ("removed", &removed)] {
        for name in names {
            let mut told = trail.iter().filter(|event| {
                event["event"] == "federation"
                    && event["operation"] == operation
                    && event["trust_domain"] == **name
            });
            assert!(told.next().is_some(), "{operation} {name}");
            assert!(told.next().is_none(), "{operation} {name}");
        }
    }
}
