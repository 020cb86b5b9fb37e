//! End-to-end tests: the real binary, real sockets and real clients.
//!
//! All in one test binary, because the tests mostly wait (for renewals, for
//! starts), and tests of one binary run side by side. `symbolon_tests` says what
//! they share and how they treat time.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail them by panicking"
)]

mod answers;
mod apply;
mod approvals;
mod caller;
mod commands;
mod crash;
mod credentials;
mod credentials_api;
mod denial;
mod drift;
mod fallback_pin;
mod federation;
mod files;
mod hostile;
mod identity;
mod interop;
mod lifecycle;
mod metadata;
mod oauth;
mod operation;
mod operator_ca;
mod operators;
mod ordinary_user;
mod protocol;
mod readme;
mod roles;
mod start;
mod store;
mod tls;
mod token;
mod trail;
mod unit;
mod views;
mod weak;
