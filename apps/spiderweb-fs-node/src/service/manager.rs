//! What the service manager is asked, and what comes of it in words.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser as _;
use windows_service::service::{
    Service, ServiceAccess, ServiceErrorControl, ServiceExitCode, ServiceInfo, ServiceStartType,
    ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::process::{FAILED, PATIENCE, dispatch};
use super::registration::{self, Refused};
use super::{Action, Flags, Home, Install, ServiceName, Status, codes, folder, meaning};

/// Between two looks at a service that is to change.
const LOOK: Duration = Duration::from_millis(50);

/// An account of the system that may do little; services run as it unless they need more.
const ACCOUNT: &str = r"NT AUTHORITY\LocalService";

/// Something went wrong with the service of this name.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", explained(.0, .1))]
    Manager(ServiceName, windows_service::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    Words(String),
}

/// What became of it, or why nothing did.
type Outcome = Result<String, Failure>;

/// Runs the command with the arguments after its name.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(std::iter::once("service".into()).chain(arguments)) {
        Ok(flags) => flags,
        Err(error) => {
            // A closed pipe is the reader's choice.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match flags.action {
        Action::Install(install) => installed(install),
        Action::Uninstall(named) => uninstalled(&named.name),
        Action::Start(named) => started(&named.name),
        Action::Stop(named) => stopped(&named.name),
        Action::Status(named) => return status(&named.name),
        Action::Run(run) => {
            let name = run.named.name.clone();
            dispatch(run)
                .map(|()| String::new())
                .map_err(|error| Failure::Manager(name, error))
        }
    };
    match done {
        Ok(words) => {
            if !words.is_empty() {
                println!("{words}");
            }
            ExitCode::SUCCESS
        }
        Err(Failure::Refused(Refused::Flags(error))) => error.report(),
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    eprintln!("error: {failure}");
    ExitCode::FAILURE
}

fn explained(name: &ServiceName, error: &windows_service::Error) -> String {
    let windows_service::Error::Winapi(reason) = error else {
        return format!("{name}: {error}");
    };
    let meaning = reason.raw_os_error().and_then(|code| meaning(name, code));
    meaning.unwrap_or_else(|| format!("{name}: {reason}"))
}

fn code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(reason) => reason.raw_os_error(),
        _ => None,
    }
}

fn manager(access: ServiceManagerAccess) -> windows_service::Result<ServiceManager> {
    ServiceManager::local_computer(None::<&OsStr>, access)
}

fn opened(name: &ServiceName, access: ServiceAccess) -> Result<Service, Failure> {
    manager(ServiceManagerAccess::CONNECT)
        .and_then(|manager| manager.open_service(name, access))
        .map_err(|error| Failure::Manager(name.clone(), error))
}

fn home(name: &ServiceName) -> Result<Home, Failure> {
    Home::new(name, |name| std::env::var(name).ok()).map_err(Failure::Words)
}

fn installed(install: Install) -> Outcome {
    let name = install.named.name;
    let refused = |error| Failure::Manager(name.clone(), error);
    let flags = registration::checked(install.flags, |name| std::env::var(name).ok())?;
    let home = home(&name)?;
    let manager =
        manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE).map_err(refused)?;
    let words = |what: &str, error: io::Error| Failure::Words(format!("{what}: {error}"));
    let program = std::env::current_exe().map_err(|error| words("this program's own path", error))?;
    let service = ServiceInfo {
        name: name.0.clone().into(),
        display_name: install
            .display_name
            .unwrap_or_else(|| format!("Spiderweb node ({name})"))
            .into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: registration::arguments(&name, &home, &flags),
        dependencies: Vec::new(),
        account_name: Some(ACCOUNT.into()),
        account_password: None,
    };
    manager
        .create_service(&service, ServiceAccess::QUERY_STATUS)
        .map_err(refused)?;
    if let Err(error) = folder::prepare(&home) {
        // Without its folder it would not start; nothing stays behind.
        let service = opened(&name, ServiceAccess::DELETE)?;
        service.delete().map_err(refused)?;
        return Err(words(&home.path().display().to_string(), error));
    }
    for token in registration::tokens(&flags) {
        eprintln!(
            "warning: every user of this machine can read {token} of a service; better name a file of tokens"
        );
    }
    Ok(format!(
        "{name} is installed and starts with the system, as {ACCOUNT}\nlog: {}\nstart it now: spiderweb-fs-node service start --name {name}",
        home.log().display()
    ))
}

fn uninstalled(name: &ServiceName) -> Outcome {
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let service = opened(name, access)?;
    ended(name, &service)?;
    service
        .delete()
        .map_err(|error| Failure::Manager(name.clone(), error))?;
    let home = home(name)?;
    Ok(format!(
        "{name} is removed; its log and state stay in {}",
        home.path().display()
    ))
}

fn started(name: &ServiceName) -> Outcome {
    let service = opened(name, ServiceAccess::QUERY_STATUS | ServiceAccess::START)?;
    let home = home(name)?;
    let logged = fs::metadata(home.log()).map_or(0, |log| log.len());
    let deadline = Instant::now() + PATIENCE;
    loop {
        match service.start::<&OsStr>(&[]) {
            // The system has just started, and starts its services.
            Err(error) if code(&error) == Some(codes::LOCKED) && Instant::now() < deadline => {
                thread::sleep(LOOK)
            }
            Err(error) if code(&error) == Some(codes::ALREADY_RUNNING) => break,
            // Starting it is allowed, or it would not have been opened.
            Err(error) if code(&error) == Some(codes::ACCESS_DENIED) => {
                return Err(Failure::Words(format!(
                    "{name}: its account may not run the program; put that where everybody may read, such as \
                     C:\\Program Files, and install anew"
                )));
            }
            started => break started.map_err(|error| Failure::Manager(name.clone(), error))?,
        }
    }
    let status = settled(name, &service)?;
    match (status.current_state, status.exit_code) {
        (ServiceState::Running, _) => Ok(format!("{name} is running")),
        (_, code) if code == FAILED => Err(Failure::Words(format!(
            "{name} did not start ({}); {} says:\n{}",
            shown(&code),
            home.log().display(),
            logged_since(&home, logged)
        ))),
        (_, code) => Err(Failure::Words(format!(
            "{name} did not start ({}); if {} says nothing about it, the log cannot be written",
            shown(&code),
            home.log().display()
        ))),
    }
}

fn shown(code: &ServiceExitCode) -> String {
    match *code {
        ServiceExitCode::ServiceSpecific(code) => format!("exit code {code}"),
        ServiceExitCode::Win32(code) => match i32::try_from(code) {
            Ok(code) => io::Error::from_raw_os_error(code).to_string(),
            Err(_) => format!("error {code} of the system"),
        },
    }
}

/// What the log got since it was this long.
fn logged_since(home: &Home, length: u64) -> String {
    let log = fs::read(home.log()).unwrap_or_default();
    // A log that was set aside meanwhile is shorter; then all of it is new.
    let since = usize::try_from(length)
        .ok()
        .and_then(|length| log.get(length..))
        .unwrap_or(&log);
    String::from_utf8_lossy(since).trim_end().to_owned()
}

fn stopped(name: &ServiceName) -> Outcome {
    let service = opened(name, ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?;
    let did_run = ended(name, &service)?;
    Ok(if did_run {
        format!("{name} has stopped")
    } else {
        format!("{name} was not running")
    })
}

/// Stops it and waits for its end; tells whether there was something to stop.
fn ended(name: &ServiceName, service: &Service) -> Result<bool, Failure> {
    let before = settled(name, service)?;
    if before.current_state == ServiceState::Stopped {
        return Ok(false);
    }
    match service.stop() {
        Err(error) if code(&error) == Some(codes::NOT_RUNNING) => return Ok(true),
        stopped => stopped.map_err(|error| Failure::Manager(name.clone(), error))?,
    };
    awaited(name, service, |state| state == ServiceState::Stopped)?;
    Ok(true)
}

/// Waits until it neither starts nor stops.
fn settled(name: &ServiceName, service: &Service) -> Result<ServiceStatus, Failure> {
    awaited(name, service, |state| {
        !matches!(state, ServiceState::StartPending | ServiceState::StopPending)
    })
}

fn awaited(
    name: &ServiceName,
    service: &Service,
    is_there: impl Fn(ServiceState) -> bool,
) -> Result<ServiceStatus, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = service
            .query_status()
            .map_err(|error| Failure::Manager(name.clone(), error))?;
        if is_there(status.current_state) {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(Failure::Words(format!(
                "{name} is still {} after {} s",
                state_in_words(status.current_state),
                PATIENCE.as_secs()
            )));
        }
        thread::sleep(LOOK);
    }
}

const fn state_in_words(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Running => "running",
        ServiceState::Stopped => "stopped",
        ServiceState::StartPending => "starting",
        ServiceState::StopPending => "stopping",
        ServiceState::Paused | ServiceState::PausePending | ServiceState::ContinuePending => "paused",
    }
}

fn status(name: &ServiceName) -> ExitCode {
    let asked = opened(name, ServiceAccess::QUERY_STATUS).and_then(|service| {
        service
            .query_status()
            .map_err(|error| Failure::Manager(name.clone(), error))
    });
    let (status, words) = match asked {
        Ok(found) if found.current_state == ServiceState::Running => {
            let process = found.process_id.map(|id| format!(" as process {id}"));
            (Status::Running, format!("running{}", process.unwrap_or_default()))
        }
        Ok(found) => {
            let words = state_in_words(found.current_state);
            let code = match found.exit_code {
                // It was never started.
                ServiceExitCode::NO_ERROR | ServiceExitCode::Win32(codes::NEVER_STARTED) => String::new(),
                code => format!(", {}", shown(&code)),
            };
            (Status::NotRunning, format!("{words}{code}"))
        }
        Err(Failure::Manager(_, error)) if code(&error) == Some(codes::NOT_INSTALLED) => {
            (Status::NotInstalled, "not installed".to_owned())
        }
        Err(failure) => return failed(&failure),
    };
    println!("{name}: {words}");
    ExitCode::from(status.exit_code())
}
