//! Whether drivers could be run, asked again and again beside everything else (section 13 of the contract).
//!
//! The book holds one [`Probe`] for each service that has a driver. A service whose manifest changes keeps its probe
//! unless what is probed changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spiderweb_protocol::ServiceId;
use spiderweb_runtime::{Driver, Probe, ProbePolicy, ProbeStatus, RuntimeSpec};
use tokio::sync::Notify;

use crate::manifest::Runtime;
use crate::services::{Services, now_ms};
use spiderweb_daemon::Tasks;

/// Longest pause, in case a service came that nobody told us of.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The probes of a node's services.
#[derive(Clone, Default)]
pub(crate) struct ProbeBook(Arc<Mutex<HashMap<ServiceId, Probed>>>);

struct Probed {
    probe: Probe,
    policy: ProbePolicy,
    spec: RuntimeSpec,
    driver: Arc<dyn Driver>,
}

impl ProbeBook {
    fn entries(&self) -> MutexGuard<'_, HashMap<ServiceId, Probed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the probes of a service say, if it has any.
    pub(super) fn status(&self, service: &ServiceId) -> Option<ProbeStatus> {
        let entries = self.entries();
        entries.get(service).map(|probed| probed.probe.status().clone())
    }

    /// Has probes for exactly the services there are.
    pub(super) fn follow(&self, services: &Services) {
        let mut entries = self.entries();
        let offered = services.offered();
        entries.retain(|id, _| offered.iter().any(|offered| offered.manifest.service_id == *id));
        for offered in offered {
            let (Runtime::Executable(spec), Some(hosted)) = (&offered.manifest.runtime, offered.hosted)
            else {
                entries.remove(&offered.manifest.service_id);
                continue;
            };
            let policy = offered.manifest.probe;
            let known = entries.get_mut(&offered.manifest.service_id);
            match known {
                Some(known) if known.policy == policy && known.spec == *spec => {}
                _ => {
                    let probed = Probed {
                        probe: Probe::new(policy),
                        policy,
                        spec: spec.clone(),
                        driver: hosted.driver.clone(),
                    };
                    entries.insert(offered.manifest.service_id.clone(), probed);
                }
            }
        }
    }

    /// Probes what is due, and says whether anything is known that was not before, and when to come again. Blocks.
    fn probe(&self) -> (bool, Duration) {
        let now = now_ms();
        let due: Vec<_> = self
            .entries()
            .iter()
            .filter(|(_, probed)| probed.probe.is_due(now))
            .map(|(id, probed)| (id.clone(), probed.driver.clone()))
            .collect();
        let mut is_news = false;
        for (id, driver) in due {
            // The lock is not held: a check may wait for a disk.
            let outcome = driver.check().map_err(|fault| fault.to_string());
            if let Some(probed) = self.entries().get_mut(&id)
                && Arc::ptr_eq(&probed.driver, &driver)
            {
                let before = probed.probe.status().clone();
                let found = match &outcome {
                    Ok(()) => Ok(()),
                    Err(reason) => Err(reason.as_str()),
                };
                probed.probe.note(now_ms(), found);
                is_news |= *probed.probe.status() != before;
            }
        }
        let next = self
            .entries()
            .values()
            .filter_map(|probed| probed.probe.due_at())
            .min();
        let pause = next.map_or(LONGEST_PAUSE, |due| {
            Duration::from_millis(due.saturating_sub(now_ms())).min(LONGEST_PAUSE)
        });
        (is_news, pause)
    }
}

/// Probes until the node stops. `reloaded` is told when services came, changed or went; `news` hears when the
/// catalog says something else.
pub(crate) async fn watch(
    book: ProbeBook,
    services: Arc<Mutex<Services>>,
    tasks: Tasks,
    reloaded: Arc<Notify>,
    news: Arc<Notify>,
) {
    loop {
        let (probes, sources) = (book.clone(), services.clone());
        let work = tasks.blocking(move || {
            probes.follow(&sources.lock().unwrap_or_else(PoisonError::into_inner));
            probes.probe()
        });
        let (is_news, pause) = work.await.unwrap_or((false, LONGEST_PAUSE));
        if is_news {
            news.notify_one();
        }
        tokio::select! {
            () = tasks.stopped().cancelled() => return,
            () = tokio::time::sleep(pause.max(Duration::from_millis(25))) => {}
            () = reloaded.notified() => {}
        }
    }
}
