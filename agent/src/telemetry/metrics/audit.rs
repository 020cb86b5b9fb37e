//! The audit trail.

use super::{ChainLabel, EventLabel, durations};
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// The audit trail.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    /// Durable records, by event.
    pub records: Family<EventLabel, Counter>,
    /// Records that could not be written, and so were refused.
    pub refused: Counter,
    /// Whether records are being refused now: 1 or 0.
    pub refusing: Gauge,
    /// Time to make one batch durable.
    pub commit_duration: Histogram,
    /// Time from handing an event over until it is durable.
    pub record_duration: Histogram,
    /// Messages that wait to be written, by chain.
    pub waiting: Family<ChainLabel, Gauge>,
    /// Records made durable together.
    pub batch: Histogram,
    /// Events of callers that were counted and not recorded one by one.
    pub summarized: Counter,
    /// Bytes that are left for the trail.
    pub free_bytes: Gauge,
    /// Whether too little space is left: 1 or 0.
    pub alarm: Gauge,
    /// Whether checkpoints cannot be written beside the trail: 1 or 0.
    pub checkpoint_failing: Gauge,
    /// Whether checkpoints cannot be written to their second place: 1 or 0.
    pub second_place_failing: Gauge,
}

impl Default for AuditMetrics {
    fn default() -> Self {
        Self {
            records: Family::default(),
            refused: Counter::default(),
            refusing: Gauge::default(),
            commit_duration: durations(),
            record_duration: durations(),
            waiting: Family::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            summarized: Counter::default(),
            free_bytes: Gauge::default(),
            alarm: Gauge::default(),
            checkpoint_failing: Gauge::default(),
            second_place_failing: Gauge::default(),
        }
    }
}

impl AuditMetrics {
    pub(super) fn publish(&self, to: &mut Registry) {
        to.register(
            "audit_records",
            "Durable audit records",
            self.records.clone(),
        );
        to.register(
            "audit_records_refused",
            "Audit records that could not be written",
            self.refused.clone(),
        );
        to.register(
            "audit_refusing",
            "Whether audit records are being refused now: 1 or 0",
            self.refusing.clone(),
        );
        to.register_with_unit(
            "audit_commit_duration",
            "Time to make one batch of audit records durable",
            Unit::Seconds,
            self.commit_duration.clone(),
        );
        to.register_with_unit(
            "audit_record_duration",
            "Time from handing events over to the audit trail until they are durable",
            Unit::Seconds,
            self.record_duration.clone(),
        );
        to.register(
            "audit_waiting",
            "What waits to be written to the audit trail",
            self.waiting.clone(),
        );
        to.register(
            "audit_batch_records",
            "Audit records made durable together",
            self.batch.clone(),
        );
        self.publish_space(to);
    }

    fn publish_space(&self, to: &mut Registry) {
        to.register(
            "audit_events_summarized",
            "Events of callers that were counted in the audit trail and not recorded one by one",
            self.summarized.clone(),
        );
        to.register(
            "audit_free_bytes",
            "Bytes that are left for the audit trail on its file system",
            self.free_bytes.clone(),
        );
        to.register(
            "audit_alarm",
            "Whether less space than audit.min_free_bytes is left for the audit trail: 1 or 0",
            self.alarm.clone(),
        );
        to.register(
            "audit_checkpoint_failing",
            "Whether audit checkpoints cannot be written: 1 or 0",
            self.checkpoint_failing.clone(),
        );
        to.register(
            "audit_second_checkpoint_failing",
            "Whether audit checkpoints cannot be written to audit.checkpoint_file: 1 or 0",
            self.second_place_failing.clone(),
        );
    }
}
