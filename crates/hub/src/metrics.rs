//! Counters, for machines that watch.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spiderweb_protocol::canonical::ObjectWriter;

/// Upper ends of the classes of the histogram of operations, in milliseconds.
const CLASSES_MS: [u64; 6] = [1, 5, 25, 100, 500, 2500];

/// What only ever grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) invites_created: AtomicU64,
    pub(crate) invites_redeemed: AtomicU64,
    pub(crate) joins: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) ensured: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) forwarded_bytes: AtomicU64,
    pub(crate) catalog_events: AtomicU64,
    classes: [AtomicU64; CLASSES_MS.len() + 1],
}

/// What stands at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauges {
    pub(crate) open_invites: usize,
    pub(crate) nodes_online: usize,
    pub(crate) nodes: usize,
    pub(crate) projects: usize,
    pub(crate) tunnels: usize,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// Notes how long an operation took.
    pub(crate) fn took(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let class = CLASSES_MS
            .iter()
            .position(|end| ms < *end)
            .unwrap_or(CLASSES_MS.len());
        if let Some(class) = self.classes.get(class) {
            count(class);
        }
    }

    /// The answer to `metrics`.
    pub(crate) fn json(&self, gauges: Gauges) -> String {
        let invites = ObjectWriter::new()
            .json("active", gauges.open_invites)
            .json("created_total", get(&self.invites_created))
            .json("redeemed_total", get(&self.invites_redeemed));
        let nodes = ObjectWriter::new()
            .json("online", gauges.nodes_online)
            .json("total", gauges.nodes)
            .json("joins_total", get(&self.joins))
            .json("lease_refresh_total", get(&self.refreshes))
            .json("ensured_total", get(&self.ensured))
            .json("deletes_total", get(&self.deletes))
            .json("reaped_total", get(&self.expired));
        let watch = ObjectWriter::new()
            .json("active", gauges.watchers)
            .json("events_total", get(&self.catalog_events));
        let classes = self.classes.iter().map(|class| get(class).to_string());
        let times = ObjectWriter::new()
            .array("below", CLASSES_MS.iter().map(u64::to_string))
            .array("counts", classes);
        ObjectWriter::new()
            .json("invites", invites.finish())
            .json("nodes", nodes.finish())
            .json(
                "projects",
                ObjectWriter::new().json("total", gauges.projects).finish(),
            )
            .json("node_service_watch", watch.finish())
            .json("tunnels", gauges.tunnels)
            .json("routed_clients", gauges.clients)
            .json("requests_total", get(&self.operations))
            .json("refused_total", get(&self.refusals))
            .json("forwarded_total", get(&self.forwarded))
            .json("bytes_total", get(&self.forwarded_bytes))
            .json("request_ms", times.finish())
            .finish()
    }

    /// The same for Prometheus.
    pub(crate) fn prometheus(&self, gauges: Gauges) -> String {
        let mut out = String::new();
        for (name, kind, value) in [
            ("invites_active", "gauge", gauges.open_invites as u64),
            ("invites_created_total", "counter", get(&self.invites_created)),
            ("invites_redeemed_total", "counter", get(&self.invites_redeemed)),
            ("nodes_online", "gauge", gauges.nodes_online as u64),
            ("nodes_total", "gauge", gauges.nodes as u64),
            ("node_joins_total", "counter", get(&self.joins)),
            ("node_lease_refresh_total", "counter", get(&self.refreshes)),
            ("node_leases_expired_total", "counter", get(&self.expired)),
            ("projects", "gauge", gauges.projects as u64),
            ("tunnels", "gauge", gauges.tunnels as u64),
            ("routed_clients", "gauge", gauges.clients as u64),
            ("control_requests_total", "counter", get(&self.operations)),
            ("control_refused_total", "counter", get(&self.refusals)),
            ("forwarded_requests_total", "counter", get(&self.forwarded)),
            ("forwarded_bytes_total", "counter", get(&self.forwarded_bytes)),
            (
                "node_service_watch_events_total",
                "counter",
                get(&self.catalog_events),
            ),
        ] {
            let _ = write!(out, "# TYPE spiderweb_{name} {kind}\nspiderweb_{name} {value}\n");
        }
        out.push_str("# TYPE spiderweb_control_request_ms histogram\n");
        let mut sum = 0;
        let ends = CLASSES_MS.iter().map(u64::to_string).chain(["+Inf".to_owned()]);
        for (end, class) in ends.zip(&self.classes) {
            sum += get(class);
            let _ = writeln!(out, "spiderweb_control_request_ms_bucket{{le=\"{end}\"}} {sum}");
        }
        let _ = writeln!(out, "spiderweb_control_request_ms_count {sum}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_json_and_classes_add_up() {
        let counters = Counters::default();
        for ms in [0, 1, 30, 9999] {
            counters.took(Duration::from_millis(ms));
        }
        let text = counters.json(Gauges::default());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value["request_ms"]["counts"],
            serde_json::json!([1, 1, 0, 1, 0, 0, 1])
        );
        assert!(
            counters
                .prometheus(Gauges::default())
                .contains("bucket{le=\"+Inf\"} 4\n")
        );
    }
}
