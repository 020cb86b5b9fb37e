//! Processes that another one traces.

use crate::{
    peer::{attestor, cannot_run, has, lacks, now, tried_with},
    program::{Built, Running},
};
use std::{fs, process::Command};
use symbolon_attestors::{AttestError, Attestor, AttestorConfig, Kind, Kinds};

/// Whether processes may trace others of their user here.
fn can_trace() -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let is_free = scope.map_or(true, |scope| scope.trim() == "0");
    is_free
        || rustix::process::geteuid().is_root()
        || cannot_run("ptrace of others is forbidden: sysctl kernel.yama.ptrace_scope=0")
}

fn built() -> Option<Built> {
    can_trace().then(|| Built::new(&[])).flatten()
}

fn traced(built: &Built, thread: u32) -> Running {
    built.run(&["trace", &thread.to_string()])
}

#[tokio::test]
async fn a_traced_process_is_refused() {
    let Some(built) = built() else { return };
    let (attestor, running) = (attestor(), built.run(&[]));
    let pinned = running.pinned(&attestor);
    let debugger = traced(&built, running.pid());
    let refused = tried_with(&attestor, &pinned, Kinds::NONE, now()).await;
    assert!(
        matches!(refused, Err(AttestError::Traced(pid)) if pid == debugger.pid()),
        "{refused:?}"
    );
    drop(debugger);
    tried_with(&attestor, &pinned, Kinds::NONE, now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_process_of_which_one_thread_is_traced_is_refused() {
    let Some(built) = built() else { return };
    let attestor = attestor();
    for threads in ["1", "100"] {
        let running = built.run(&["threads", threads]);
        let pinned = running.pinned(&attestor);
        tried_with(&attestor, &pinned, Kinds::NONE, now())
            .await
            .unwrap();
        let debugger = traced(&built, running.number);
        let refused = tried_with(&attestor, &pinned, Kinds::NONE, now()).await;
        assert!(
            matches!(refused, Err(AttestError::Traced(pid)) if pid == debugger.pid()),
            "{threads}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_traced_process_is_attested_where_that_is_allowed_and_its_code_means_nothing() {
    let Some(built) = built() else { return };
    let config = AttestorConfig {
        allow_traced: true,
        ..AttestorConfig::default()
    };
    let attestor = Attestor::new(config).unwrap();
    let running = built.run(&[]);
    let pinned = running.pinned(&attestor);
    let debugger = traced(&built, running.pid());
    let kinds = Kinds::NONE.with(Kind::Code);
    let attestation = tried_with(&attestor, &pinned, kinds, now()).await.unwrap();
    assert_eq!(attestation.evidence().tracer, Some(debugger.pid()));
    assert!(lacks(&attestation, "code:trusted").contains("traces it"));
    assert!(!has(&attestation, "code:jit:false"));
    attestor
        .code_unchanged(&pinned, &attestation)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_debugger_that_comes_after_the_attestation_is_noticed_with_the_code() {
    let Some(built) = built() else { return };
    if !crate::peer::is_root() {
        return;
    }
    let (attestor, running) = (attestor(), built.run(&[]));
    let pinned = running.pinned(&attestor);
    let kinds = Kinds::NONE.with(Kind::Code);
    let attestation = tried_with(&attestor, &pinned, kinds, now()).await.unwrap();
    let debugger = traced(&built, running.pid());
    let refused = attestor.code_unchanged(&pinned, &attestation).await;
    assert!(matches!(refused, Err(AttestError::Traced(pid)) if pid == debugger.pid()));
}

#[tokio::test]
async fn a_breakpoint_of_a_debugger_that_is_gone_is_code_of_the_processs_own() {
    let Some(built) = built() else { return };
    let has_gdb = Command::new("gdb").arg("--version").output().is_ok();
    if !crate::peer::is_root() || (!has_gdb && !cannot_run("gdb is needed")) {
        return;
    }
    let (attestor, running) = (attestor(), built.run(&[]));
    let pinned = running.pinned(&attestor);
    let kinds = Kinds::NONE.with(Kind::Code);
    let before = tried_with(&attestor, &pinned, kinds, now()).await.unwrap();
    assert!(has(&before, "code:jit:false"));
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-p", &running.pid().to_string()])
        .args([
            "-ex",
            "set var *(char *)main = *(char *)main",
            "-ex",
            "detach",
        ]);
    let status = gdb.output().unwrap().status;
    assert!(status.success());
    let after = tried_with(&attestor, &pinned, kinds, now()).await.unwrap();
    assert!(has(&after, "code:jit:true"));
}
