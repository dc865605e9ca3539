//! Counters, for machines that watch.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spiderweb_protocol::canonical::ObjectWriter;

/// Upper ends of the classes of the histogram of operations, in milliseconds.
const CLASSES_MS: [u64; 6] = [1, 5, 25, 100, 500, 2500];

/// Changes of projects.
#[derive(Debug, Default)]
pub(crate) struct ProjectCounters {
    pub(crate) creates: AtomicU64,
    pub(crate) updates: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) token_rotates: AtomicU64,
    pub(crate) token_revokes: AtomicU64,
    pub(crate) activations: AtomicU64,
    pub(crate) mount_sets: AtomicU64,
    pub(crate) mount_removes: AtomicU64,
}

/// Those who watch catalogs, and what they were told.
#[derive(Debug, Default)]
pub(crate) struct WatchCounters {
    /// Most watchers there ever were at a time.
    pub(crate) peak: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) replayed_bytes: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// What watchers were too slow for.
    pub(crate) dropped: AtomicU64,
}

/// What only ever grows, from the start of the hub.
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
    pub(crate) projects: ProjectCounters,
    pub(crate) watch: WatchCounters,
    classes: [AtomicU64; CLASSES_MS.len() + 1],
}

/// What stands at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauges {
    pub(crate) open_invites: usize,
    pub(crate) nodes_online: usize,
    pub(crate) nodes: usize,
    pub(crate) projects: usize,
    pub(crate) mounts: usize,
    /// Agents for which a project is active.
    pub(crate) active_bindings: usize,
    pub(crate) tunnels: usize,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    pub(crate) retained: Retained,
}

/// Events kept for those who begin to watch later.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Retained {
    pub(crate) events: usize,
    pub(crate) capacity: usize,
    /// When the first and the last of them happened.
    pub(crate) span_ms: Option<(u64, u64)>,
}

impl Retained {
    fn json(self) -> String {
        let shown = |time: Option<u64>| time.map_or_else(|| "null".to_owned(), |time| time.to_string());
        let (oldest, newest) = self.span_ms.unzip();
        let window = self
            .span_ms
            .map_or(0, |(oldest, newest)| newest.saturating_sub(oldest));
        ObjectWriter::new()
            .json("events", self.events)
            .json("capacity", self.capacity)
            .json("oldest_ms", shown(oldest))
            .json("newest_ms", shown(newest))
            .json("window_ms", window)
            .finish()
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl ProjectCounters {
    fn json(&self, gauges: &Gauges) -> String {
        ObjectWriter::new()
            .json("total", gauges.projects)
            .json("active_bindings", gauges.active_bindings)
            .json("creates_total", get(&self.creates))
            .json("updates_total", get(&self.updates))
            .json("deletes_total", get(&self.deletes))
            .json("token_rotates_total", get(&self.token_rotates))
            .json("token_revokes_total", get(&self.token_revokes))
            .json("activations_total", get(&self.activations))
            .json("mounts_total", gauges.mounts)
            .json("mount_sets_total", get(&self.mount_sets))
            .json("mount_removes_total", get(&self.mount_removes))
            .finish()
    }
}

impl WatchCounters {
    fn json(&self, gauges: &Gauges) -> String {
        let subscribers = ObjectWriter::new()
            .json("current", gauges.watchers)
            .json("peak", get(&self.peak));
        // What would not fit is not tried.
        let replayed = get(&self.replayed);
        let replay = ObjectWriter::new()
            .json("requests_total", get(&self.requests))
            .json("attempted_total", replayed)
            .json("sent_total", replayed)
            .json("bytes_total", get(&self.replayed_bytes));
        let (events, sent, dropped) = (get(&self.events), get(&self.sent), get(&self.dropped));
        let fanout = ObjectWriter::new()
            .json("events_total", events)
            .json("attempted_total", sent + dropped)
            .json("sent_total", sent)
            .json("dropped_total", dropped);
        ObjectWriter::new()
            .json("subscribers", subscribers.finish())
            .json("replay", replay.finish())
            .json("fanout", fanout.finish())
            .json("retained", gauges.retained.json())
            // Ours.
            .json("active", gauges.watchers)
            .json("events_total", events)
            .finish()
    }
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

    /// The answer to `metrics`: the numbers of both generations, and ours beside them.
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
        let events = ObjectWriter::new().json("retained", gauges.retained.json());
        let classes = self.classes.iter().map(|class| get(class).to_string());
        let times = ObjectWriter::new()
            .array("below", CLASSES_MS.iter().map(u64::to_string))
            .array("counts", classes);
        ObjectWriter::new()
            .json("invites", invites.finish())
            .json("nodes", nodes.finish())
            .json("projects", self.projects.json(&gauges))
            .json("node_service_watch", self.watch.json(&gauges))
            .json("node_service_events", events.finish())
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
                get(&self.watch.events),
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
