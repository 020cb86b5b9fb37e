//! Symbolon: a node-local workload identity agent for MCP clients.
//!
//! Endpoints (`workload_api`, `credentials_api`, `admin_api`, `http`, `cli`, on `transport`) call
//! services (`workloads`, `registry`, `authority`, `issuance`, `audit`), which
//! use plain types. Only `app` wires them together. `ARCHITECTURE.md` has the
//! picture.

pub mod admin_api;
pub mod app;
pub mod audit;
pub mod authority;
pub mod backup;
pub mod canonical;
pub mod cli;
pub mod client_keys;
pub mod clock;
pub mod config;
pub mod credentials_api;
pub mod data_directory;
pub mod disk;
pub mod drift;
pub mod federation;
pub mod fetch;
pub mod governance;
pub mod http;
pub mod identity;
pub mod issuance;
pub mod lint;
pub mod metadata;
pub mod operators;
pub mod registrations;
pub mod registry;
pub mod server;
pub mod supervisor;
pub mod svid;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod uri;
pub mod usage;
pub mod workload_api;
pub mod workloads;
