//! Pairing in the world: asks the hub, waits, keeps the state file, tells the operator.

use std::time::Duration;

use spiderweb_protocol::control::{
    ApproveJoin, Code, Credentials, JoinByInvite, Operation, PendingJoin, Platform, RequestJoin,
};
use spiderweb_protocol::{Dialect, Secret};
use spiderweb_transport::Backoff;

use super::machine::{Identity, Machine, Outcome, Pace, Stage, Step, is_hopeless};
use crate::config::ControlConfig;
use crate::control::complaint::Complaints;
use crate::control::connection::{HubError, REPLY};
use crate::control::line::Line;
use crate::state::{IdentityStore, Kept};
use spiderweb_daemon::Tasks;

/// Goes on until this node has an identity; at once if it has one.
///
/// Cancel safe in the sense that what was received is in the state file, and nothing else is lost.
pub(crate) async fn pair(
    line: &mut Line,
    store: &mut IdentityStore,
    config: &ControlConfig,
    tasks: &Tasks,
) -> Identity {
    let mut machine = Machine::new(config.pair_mode, store.kept().stage.clone());
    let mut flow = Flow {
        line,
        store,
        config,
        tasks,
        complaints: Complaints::default(),
    };
    let mut backoff = Backoff::new(config.backoff, config.backoff_max);
    loop {
        let invites = flow.invites().await;
        let step = machine.step(&invites);
        if let Step::Done(identity) = step {
            return identity;
        }
        let outcome = flow.take(&step).await;
        let pace = machine.note(&step, outcome);
        flow.keep(machine.stage()).await;
        let pause = match pace {
            Pace::Now => {
                backoff.reset();
                continue;
            }
            Pace::Steady => {
                backoff.reset();
                backoff.next_delay()
            }
            Pace::Growing => backoff.next_delay(),
            Pace::Late => backoff.longest(),
        };
        tracing::info!("node pairing pending; retrying in {} ms", pause.as_millis());
        flow.rest(pause, &mut machine).await;
    }
}

struct Flow<'a> {
    line: &'a mut Line,
    store: &'a mut IdentityStore,
    config: &'a ControlConfig,
    tasks: &'a Tasks,
    complaints: Complaints,
}

impl Flow<'_> {
    async fn invites(&self) -> Vec<Secret> {
        let invites = self.config.invites.clone();
        let read = self
            .tasks
            .blocking(move || (invites.read(), invites.tokens))
            .await;
        match read {
            Some((Ok(invites), _)) => invites,
            Some((Err(error), given)) => {
                tracing::warn!("{error}");
                given
            }
            None => Vec::new(),
        }
    }

    /// Writes the stage down if it is another than the file's. Credentials were written when they came.
    async fn keep(&mut self, stage: &Stage) {
        let kept = match (stage, &self.store.kept().stage) {
            (Stage::Unpaired, Stage::AwaitingApproval(_)) => Kept::default(),
            (Stage::AwaitingApproval(new), Stage::AwaitingApproval(old)) if new == old => return,
            (Stage::AwaitingApproval(new), _) => Kept::awaiting(new.clone()),
            _ => return,
        };
        self.store.keep(kept).await;
    }

    /// Waits; takes over what somebody puts into the state file meanwhile.
    async fn rest(&mut self, pause: Duration, machine: &mut Machine) {
        self.line.wait(pause).await;
        let Some(found) = self.store.reread().await else {
            return;
        };
        machine.adopt(found.stage.clone());
        if let (Stage::Paired(identity), Stage::Paired(_)) = (machine.stage(), &found.stage) {
            tracing::info!("node paired by its state file: {}", identity.node_id);
            self.store.keep(found).await;
        }
    }

    async fn take(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Join(invite) => self.join(invite).await,
            Step::Ask => self.ask().await,
            Step::Poll(request) => {
                let approve = ApproveJoin {
                    request_id: request.clone(),
                    lease_ttl_ms: Some(self.ttl_ms()),
                };
                self.poll(&approve).await
            }
            Step::AwaitInvite => {
                self.complaints.say(
                    "there is no invite to pair with; write one into the file of --invite-token-file, or start with \
                     --invite-token",
                );
                Outcome::NoAnswer
            }
            Step::Done(_) => Outcome::NoAnswer,
        }
    }

    fn ttl_ms(&self) -> u64 {
        u64::try_from(self.config.lease_ttl.as_millis()).unwrap_or(u64::MAX)
    }

    async fn join(&mut self, invite: &Secret) -> Outcome {
        let payload = JoinByInvite {
            invite_token: invite.clone(),
            node_name: Some(self.config.node_name.clone()),
            fs_url: Some(self.config.fs_url.clone()),
            lease_ttl_ms: Some(self.ttl_ms()),
        };
        let payload = payload.encode();
        let asked = self.line.ask(
            Operation::NodeJoin,
            Dialect::Seed,
            &payload,
            REPLY,
            Credentials::decode,
        );
        match asked.await {
            Ok(credentials) => self.paired("node paired via invite", &credentials).await,
            Err(error) => {
                let words = match &error {
                    HubError::Refused(refusal) => {
                        let hint = match refusal.code {
                            Code::InviteNotFound => "; the hub does not know this invite, ask for a new one",
                            Code::InviteExpired | Code::InviteRedeemed => {
                                "; an invite pairs once and not for ever, ask for a new one"
                            }
                            _ => "",
                        };
                        format!(
                            "node invite join rejected: code={} message={}{hint}",
                            refusal.code, refusal.message
                        )
                    }
                    HubError::Unreadable { .. } => format!("node invite join payload invalid: {error}"),
                    _ => error.told_as("node invite join request failed"),
                };
                self.failed(&error, &words)
            }
        }
    }

    async fn ask(&mut self) -> Outcome {
        let payload = RequestJoin {
            node_name: Some(self.config.node_name.clone()),
            fs_url: Some(self.config.fs_url.clone()),
            platform: Some(Platform::this_machine()),
        };
        let payload = payload.encode();
        let operation = Operation::NodeJoinRequest;
        let asked = self
            .line
            .ask(operation, Dialect::Seed, &payload, REPLY, PendingJoin::decode);
        match asked.await {
            Ok(pending) => {
                tracing::info!("node join request submitted: {}", pending.request_id);
                Outcome::Filed(pending.request_id)
            }
            Err(error) => {
                let words = match &error {
                    HubError::Refused(refusal) => format!(
                        "node join-request rejected: code={} message={}",
                        refusal.code, refusal.message
                    ),
                    HubError::Unreadable { .. } => format!("node join-request response invalid: {error}"),
                    _ => error.told_as("node join-request failed"),
                };
                self.failed(&error, &words)
            }
        }
    }

    async fn poll(&mut self, approve: &ApproveJoin) -> Outcome {
        let source = self.config.operator_token.clone();
        let operator_token = match self.tasks.blocking(move || source.read()).await {
            Some(Ok(token)) => token,
            Some(Err(error)) => {
                tracing::warn!("{error}");
                None
            }
            None => None,
        };
        let payload = approve.encode(operator_token.as_ref());
        let operation = Operation::NodeJoinApprove;
        let asked = self
            .line
            .ask(operation, Dialect::Seed, &payload, REPLY, Credentials::decode);
        let error = match asked.await {
            Ok(credentials) => {
                return self
                    .paired("node paired via join-request approval", &credentials)
                    .await;
            }
            Err(error) => error,
        };
        match error.refusal() {
            Some(refusal) if matches!(refusal.code, Code::PendingJoinNotFound | Code::JoinDenied) => {
                tracing::error!(
                    "the hub has no join request {} any more ({}): it was denied, or the hub lost its data; a new one is \
                     filed after a while",
                    approve.request_id,
                    refusal.code
                );
            }
            Some(refusal) if !is_hopeless(&refusal.code) => {
                tracing::info!(
                    "node join approval pending: code={} message={}",
                    refusal.code,
                    refusal.message
                );
            }
            _ => {
                let words = match &error {
                    HubError::Unreadable { .. } => format!("node join approval payload invalid: {error}"),
                    _ => error.told_as("node join approval attempt failed"),
                };
                return self.failed(&error, &words);
            }
        }
        outcome(&error)
    }

    /// Credentials count once they are on the disk: an invite works only once.
    async fn paired(&mut self, how: &str, credentials: &Credentials) -> Outcome {
        self.store.keep(Kept::of(credentials)).await;
        tracing::info!("{how}: {}", credentials.node_id);
        Outcome::Paired(Identity {
            node_id: credentials.node_id.clone(),
            node_secret: credentials.node_secret.clone(),
        })
    }

    fn failed(&mut self, error: &HubError, words: &str) -> Outcome {
        let code = error.any_refusal().map(|refusal| &refusal.code);
        let is_spent = matches!(
            code,
            Some(Code::InviteNotFound | Code::InviteExpired | Code::InviteRedeemed)
        );
        if is_spent || error.is_hopeless() {
            self.complaints.say(words);
        } else {
            tracing::warn!("{words}");
        }
        outcome(error)
    }
}

fn outcome(error: &HubError) -> Outcome {
    match error.any_refusal() {
        Some(refusal) => Outcome::Refused(refusal.code.clone()),
        None => Outcome::NoAnswer,
    }
}
