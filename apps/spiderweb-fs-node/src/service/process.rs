//! The process that the service manager starts.
//!
//! ```text
//! StartPending ──► Running ──► StopPending ──► Stopped 0
//!      │          it serves    stop, shutdown,
//!      ▼                       or the console's end
//! Stopped 1: the log says why    Stopped with an error of the system: there is no log to say it in
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use windows_service::define_windows_service;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::service_dispatcher;

use super::{Home, Run, folder, registration};
use crate::{Stage, serve};

/// How long a start or a stop may take before the manager takes the process for hung.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The service did not come up; its log says why.
pub(super) const FAILED: ServiceExitCode = ServiceExitCode::ServiceSpecific(1);

/// What the process was started for: the manager calls the service without a word of ours.
static RUN: OnceLock<Run> = OnceLock::new();

define_windows_service!(entry, service);

/// Hands the process over to the service manager, until the service has ended.
pub(super) fn dispatch(run: Run) -> windows_service::Result<()> {
    let name = run.named.name.clone();
    // Nobody else sets it.
    let _ = RUN.set(run);
    service_dispatcher::start(name, entry)
}

fn service(_arguments: Vec<OsString>) {
    let Some(run) = RUN.get() else { return };
    let end = Arc::new(Notify::new());
    let handler = {
        let end = Arc::clone(&end);
        move |control| match control {
            ServiceControl::Stop | ServiceControl::Shutdown => {
                end.notify_one();
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            _ => ServiceControlHandlerResult::NotImplemented,
        }
    };
    // Without this there is nobody to tell that it failed.
    let Ok(manager) = service_control_handler::register(&run.named.name, handler) else {
        return;
    };
    tell(manager, ServiceState::StartPending, ServiceExitCode::NO_ERROR);
    let code = node(run, manager, &end);
    tell(manager, ServiceState::Stopped, code);
}

/// Runs the node to its end.
fn node(run: &Run, manager: ServiceStatusHandle, end: &Notify) -> ServiceExitCode {
    let log = match log(&Home(run.folder.clone())) {
        Ok(log) => log,
        Err(error) => return ServiceExitCode::Win32(code(&error)),
    };
    spiderweb_daemon::logging::start_in(log);
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let mut plan = match registration::planned(run.flags.iter().cloned(), |name| std::env::var(name).ok()) {
        Ok(Some(plan)) => plan,
        Ok(None) => return ServiceExitCode::NO_ERROR,
        Err(error) => return failed(error.lines()),
    };
    if plan.node.default_export {
        // The current folder has the node's own files.
        plan.node.exports.clear();
        plan.node.default_export = false;
    }
    let tell = |stage| match stage {
        Stage::Serving => tell(manager, ServiceState::Running, ServiceExitCode::NO_ERROR),
        Stage::Stopping => tell(manager, ServiceState::StopPending, ServiceExitCode::NO_ERROR),
    };
    match serve(plan, end.notified(), tell) {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(failure) => failed(failure.lines()),
    }
}

/// Makes the service's folder the current one and opens its log.
fn log(home: &Home) -> io::Result<File> {
    std::env::set_current_dir(home.path())?;
    folder::log(home)
}

fn code(error: &io::Error) -> u32 {
    let code = error.raw_os_error().unwrap_or_default();
    // Zero would be success.
    u32::try_from(code).unwrap_or_default().max(1)
}

fn failed(lines: [&str; 2]) -> ServiceExitCode {
    for line in lines {
        tracing::error!("{line}");
    }
    FAILED
}

fn tell(manager: ServiceStatusHandle, state: ServiceState, exit_code: ServiceExitCode) {
    let is_pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
    let told = manager.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if state == ServiceState::Running {
            ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
        } else {
            ServiceControlAccept::empty()
        },
        exit_code,
        checkpoint: 0,
        wait_hint: if is_pending { PATIENCE } else { Duration::ZERO },
        process_id: None,
    });
    if let Err(error) = told {
        tracing::warn!("the service manager was not told {state:?}: {error}");
    }
}
