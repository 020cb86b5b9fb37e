//! What container runtimes say, as JSON: nothing panics, what is read is what the document says
//! whatever lies beside it, and digests are digests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use symbolon_attestors::{
    Selector,
    parse::{
        container::is_id,
        runtime::{container_info, digests, image_id, inspected, repo_digests},
    },
};

type Texts<'a> = (&'a str, &'a str, &'a str, &'a str);

struct Input<'a> {
    /// Beside what is read.
    further: &'a str,
    id: &'a str,
    name: &'a str,
    started: &'a str,
    seconds: i64,
    pid: i64,
    is_running: bool,
    labels: Vec<(&'a str, &'a str)>,
}

fuzz_target!(|input: (
    Texts<'_>,
    (i64, i64, bool),
    Vec<(&str, &str)>,
    Vec<(u8, &str)>,
    &[u8]
)| {
    let (texts, numbers, labels, images, bytes) = input;
    let (further, id, name, started) = texts;
    let (seconds, pid, is_running) = numbers;
    let input = Input {
        further,
        id,
        name,
        started,
        seconds,
        pid,
        is_running,
        labels,
    };
    let _ = container_info(&String::from_utf8_lossy(bytes));
    if let Ok(names) = repo_digests(bytes) {
        check_digests(&names);
    }
    let _ = inspected(bytes);
    container(&input);
    info(&input);
    let a = "a".repeat(64);
    let names = images.iter().map(|(choice, name)| match choice % 4 {
        0 => format!("{name}@sha256:{a}"),
        1 => format!("{name}@sha256:{name}"),
        2 => format!("sha256:{a}{name}"),
        _ => (*name).to_owned(),
    });
    let names: Vec<_> = names.collect();
    check_digests(&names);
    let document = json!({ "RepoDigests": names, "Id": further }).to_string();
    assert_eq!(repo_digests(document.as_bytes()).unwrap(), names);
});

fn container(input: &Input<'_>) {
    let labels: std::collections::BTreeMap<_, _> = input.labels.iter().copied().collect();
    let started = match input.started {
        "" => {
            let (day, second) = (input.seconds & 15, input.seconds & 31);
            format!("2024-05-{:02}T00:00:{second:02}.5+01:00", day + 1)
        }
        text => text.to_owned(),
    };
    let document = json!({
        "Id": input.id,
        "Name": input.name,
        "Image": input.id,
        "State": { "Running": input.is_running, "Pid": input.pid, "StartedAt": started },
        "Config": { "Labels": labels, "Env": [input.further] },
        "Mounts": input.further,
    });
    let text = document.to_string();
    match inspected(text.as_bytes()) {
        Ok(read) => {
            assert_eq!((&*read.id, &*read.image), (input.id, input.id));
            assert_eq!(i64::from(read.pid), input.pid);
            assert_eq!(read.is_running, input.is_running);
            assert_eq!(
                read.name,
                input.name.strip_prefix('/').unwrap_or(input.name)
            );
            assert!(
                read.labels
                    .iter()
                    .map(|(key, value)| (&**key, &**value))
                    .eq(labels)
            );
            for (key, value) in &read.labels {
                let _ = format!("container:label:{key}:{value}").parse::<Selector>();
            }
        }
        Err(_) => assert!(u32::try_from(input.pid).is_err() || input.is_running),
    }
    // What a runtime adds is passed over, and makes no other container of it.
    let further = text.replacen('{', &format!("{{\"Further\":{},", input.further), 1);
    if let (Ok(read), Ok(plain)) = (inspected(further.as_bytes()), inspected(text.as_bytes()))
        && serde_json::from_str::<serde_json::Value>(input.further).is_ok()
    {
        assert_eq!(read, plain);
    }
}

fn info(input: &Input<'_>) {
    let document = json!({
        "sandboxID": input.id,
        "pid": input.pid,
        "config": { "envs": input.further },
    });
    match container_info(&document.to_string()) {
        Ok(read) => {
            assert_eq!((i64::from(read.pid), &*read.sandbox), (input.pid, input.id));
        }
        Err(_) => assert!(u32::try_from(input.pid).is_err()),
    }
}

fn check_digests(names: &[String]) {
    let digests = digests(names);
    assert!(digests.is_sorted_by(|one, next| one < next) && digests.len() <= names.len());
    for digest in digests {
        let digits = digest.strip_prefix("sha256:").unwrap();
        assert!(is_id(digits) && names.iter().any(|name| name.ends_with(&digest)));
        assert_eq!(image_id(&digest).as_ref(), Some(&digest));
        let selector = format!("container:image_digest:{digest}");
        selector.parse::<Selector>().unwrap();
    }
}
