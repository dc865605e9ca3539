//! What pairing does next, as a pure function of what came of the last attempt.

use spiderweb_protocol::Secret;
use spiderweb_protocol::control::{Code, NodeId, RequestId};

use crate::config::PairMode;

/// Who a node is to its hub.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id.
    pub node_id: NodeId,
    /// Its proof.
    pub node_secret: Secret,
}

impl Identity {
    /// Whether both are the same node with the same proof.
    pub fn is(&self, other: &Self) -> bool {
        self.node_id == other.node_id && self.node_secret.matches(other.node_secret.expose())
    }
}

/// How far pairing has come.
#[derive(Debug, Clone, Default)]
pub enum Stage {
    /// The hub does not know this node.
    #[default]
    Unpaired,
    /// The node has asked, and somebody has to approve.
    AwaitingApproval(RequestId),
    /// The hub knows this node.
    Paired(Identity),
}

/// What to do next.
#[derive(Debug, Clone)]
pub enum Step {
    /// Show this invite.
    Join(Secret),
    /// Ask to be paired.
    Ask,
    /// Ask what came of the request; where the hub lets it, this approves it, too.
    Poll(RequestId),
    /// Wait until there is an invite.
    AwaitInvite,
    /// Nothing: this is who we are.
    Done(Identity),
}

/// What came of a step.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The hub knows us now.
    Paired(Identity),
    /// The request is filed.
    Filed(RequestId),
    /// The hub said no, with this code.
    Refused(Code),
    /// There was no answer that could be understood.
    NoAnswer,
}

/// When the next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Now,
    /// After the usual pause: all is well, it just takes its time.
    Steady,
    /// After a pause that grows from attempt to attempt.
    Growing,
    /// After the longest pause: nothing will change until somebody does something.
    Late,
}

/// Pairing.
#[derive(Debug, Clone)]
pub struct Machine {
    mode: PairMode,
    stage: Stage,
    /// Invites the hub refused.
    spent: Vec<Secret>,
    /// There are invites left to try besides the one of the last step.
    has_others: bool,
    /// Which of the refused ones was tried once more.
    retried: usize,
}

impl Machine {
    /// Pairing that has come as far as `stage`.
    pub fn new(mode: PairMode, stage: Stage) -> Self {
        Self {
            mode,
            stage,
            spent: Vec::new(),
            has_others: false,
            retried: 0,
        }
    }

    /// How far it has come.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Takes over what somebody put into the state file: credentials, or the id of a request.
    pub fn adopt(&mut self, found: Stage) {
        match (&self.stage, &found) {
            (Stage::Paired(_), _) | (_, Stage::Unpaired) => {}
            (Stage::AwaitingApproval(ours), Stage::AwaitingApproval(theirs)) if ours == theirs => {}
            _ => self.stage = found,
        }
    }

    /// What to do next. `invites` are those at hand now, the one to try first in front.
    pub fn step(&mut self, invites: &[Secret]) -> Step {
        match (&self.stage, self.mode) {
            (Stage::Paired(identity), _) => Step::Done(identity.clone()),
            (Stage::AwaitingApproval(request), PairMode::Request) => Step::Poll(request.clone()),
            (Stage::Unpaired, PairMode::Request) => Step::Ask,
            // A request from an earlier start in the other mode is nobody's business any more.
            (Stage::Unpaired | Stage::AwaitingApproval(_), PairMode::Invite) => self.next_invite(invites),
        }
    }

    fn next_invite(&mut self, invites: &[Secret]) -> Step {
        let is_in =
            |invites: &[Secret], invite: &Secret| invites.iter().any(|known| known.matches(invite.expose()));
        // Somebody may list one invite twice.
        let mut fresh: Vec<Secret> = Vec::new();
        for invite in invites {
            if !is_in(&self.spent, invite) && !is_in(&fresh, invite) {
                fresh.push(invite.clone());
            }
        }
        self.has_others = fresh.len() > 1;
        if let Some(invite) = fresh.into_iter().next() {
            return Step::Join(invite);
        }
        // All were refused. The hub may have been restored meanwhile, so one after the other is tried once more.
        let Some(invite) = invites.first() else {
            return Step::AwaitInvite;
        };
        self.retried = (self.retried + 1) % invites.len();
        Step::Join(invites.get(self.retried).unwrap_or(invite).clone())
    }

    /// Takes what came of a step, and says when to go on.
    pub fn note(&mut self, step: &Step, outcome: Outcome) -> Pace {
        match (step, outcome) {
            (_, Outcome::Paired(identity)) => {
                self.stage = Stage::Paired(identity);
                Pace::Now
            }
            (Step::Ask, Outcome::Filed(request)) => {
                self.stage = Stage::AwaitingApproval(request);
                Pace::Now
            }
            (Step::Join(invite), Outcome::Refused(code)) => self.invite_refused(invite, &code),
            (Step::Poll(_), Outcome::Refused(code)) => self.poll_refused(&code),
            (Step::Ask, Outcome::Refused(code)) if is_hopeless(&code) => Pace::Late,
            (Step::AwaitInvite | Step::Done(_), _) => Pace::Late,
            (_, Outcome::Filed(_) | Outcome::Refused(_) | Outcome::NoAnswer) => Pace::Growing,
        }
    }

    fn invite_refused(&mut self, invite: &Secret, code: &Code) -> Pace {
        match code {
            Code::InviteNotFound | Code::InviteExpired | Code::InviteRedeemed => {
                if !self.spent.iter().any(|spent| spent.matches(invite.expose())) {
                    self.spent.push(invite.clone());
                }
                if self.has_others { Pace::Now } else { Pace::Late }
            }
            code if is_hopeless(code) => Pace::Late,
            _ => Pace::Growing,
        }
    }

    fn poll_refused(&mut self, code: &Code) -> Pace {
        match code {
            Code::PendingJoinNotFound | Code::JoinDenied => {
                self.stage = Stage::Unpaired;
                Pace::Late
            }
            // Hubs that want an operator's token miss it before they look at the request.
            Code::ApprovalPending | Code::MissingField => Pace::Steady,
            code if is_hopeless(code) => Pace::Late,
            _ => Pace::Growing,
        }
    }
}

/// Whether nothing but a person can change this answer.
pub(crate) fn is_hopeless(code: &Code) -> bool {
    match code {
        Code::AuthFailed
        | Code::ProviderAuthFailed
        | Code::Forbidden
        | Code::ProvisioningRequired
        | Code::OperatorAuthFailed
        | Code::ProtocolMismatch
        | Code::InvalidPayload
        | Code::TooMany => true,
        Code::Other(word) => &**word == "last_target_invalid",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(id: &str) -> Identity {
        Identity {
            node_id: NodeId::new(id).unwrap(),
            node_secret: Secret::new("s"),
        }
    }

    fn request(id: &str) -> RequestId {
        RequestId::new(id).unwrap()
    }

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().copied().map(Secret::new).collect()
    }

    fn invite_of(step: &Step) -> Option<&str> {
        match step {
            Step::Join(invite) => Some(invite.expose()),
            _ => None,
        }
    }

    #[test]
    fn a_request_is_filed_polled_and_filed_again_after_a_denial() {
        let mut machine = Machine::new(PairMode::Request, Stage::Unpaired);
        let step = machine.step(&[]);
        assert!(matches!(step, Step::Ask));
        assert_eq!(machine.note(&step, Outcome::NoAnswer), Pace::Growing);
        assert_eq!(machine.note(&step, Outcome::Filed(request("p-1"))), Pace::Now);
        let step = machine.step(&[]);
        assert!(matches!(&step, Step::Poll(id) if id.as_str() == "p-1"));
        for (code, pace) in [
            (Code::ApprovalPending, Pace::Steady),
            (Code::MissingField, Pace::Steady),
            (Code::ControlPlaneError, Pace::Growing),
            (Code::OperatorAuthFailed, Pace::Late),
        ] {
            assert_eq!(machine.note(&step, Outcome::Refused(code)), pace);
            assert!(matches!(machine.step(&[]), Step::Poll(_)));
        }
        let denied = Outcome::Refused(Code::PendingJoinNotFound);
        assert_eq!(machine.note(&step, denied), Pace::Late);
        assert!(matches!(machine.step(&[]), Step::Ask));
    }

    #[test]
    fn every_invite_is_tried_before_the_long_wait() {
        let mut machine = Machine::new(PairMode::Invite, Stage::Unpaired);
        let invites = secrets(&["a", "b"]);
        let spent = || Outcome::Refused(Code::InviteRedeemed);
        let step = machine.step(&invites);
        assert_eq!(invite_of(&step), Some("a"));
        assert_eq!(machine.note(&step, Outcome::NoAnswer), Pace::Growing);
        assert_eq!(machine.note(&step, spent()), Pace::Now);
        let step = machine.step(&invites);
        assert_eq!(invite_of(&step), Some("b"));
        assert_eq!(machine.note(&step, spent()), Pace::Late);
        let fresh = secrets(&["c", "a", "b"]);
        assert_eq!(invite_of(&machine.step(&fresh)), Some("c"), "a new one is tried");
        let again = [(); 2].map(|()| machine.step(&invites));
        assert_eq!(
            again.each_ref().map(invite_of),
            [Some("b"), Some("a")],
            "or all once more"
        );
        assert_eq!(machine.note(&again[1], spent()), Pace::Late, "without hurry");
        assert!(matches!(machine.step(&[]), Step::AwaitInvite));
    }

    #[test]
    fn an_invite_that_is_listed_twice_is_one() {
        let mut machine = Machine::new(PairMode::Invite, Stage::Unpaired);
        let invites = secrets(&["a", "b", "a", "b"]);
        let mut paces = Vec::new();
        for _ in 0..6 {
            let step = machine.step(&invites);
            paces.push(machine.note(&step, Outcome::Refused(Code::InviteRedeemed)));
        }
        assert_eq!(paces[0], Pace::Now);
        assert!(paces[1..].iter().all(|&pace| pace == Pace::Late), "{paces:?}");
    }

    #[test]
    fn credentials_in_the_file_are_taken_by_whoever_has_none() {
        let mut machine = Machine::new(PairMode::Request, Stage::AwaitingApproval(request("p-1")));
        machine.adopt(Stage::Unpaired);
        assert!(matches!(machine.step(&[]), Step::Poll(_)));
        machine.adopt(Stage::Paired(identity("n-1")));
        machine.adopt(Stage::Paired(identity("n-2")));
        assert!(matches!(machine.step(&[]), Step::Done(who) if who.node_id.as_str() == "n-1"));
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        let codes = prop::sample::select(vec![
            Code::InviteNotFound,
            Code::InviteExpired,
            Code::InviteRedeemed,
            Code::PendingJoinNotFound,
            Code::JoinDenied,
            Code::ApprovalPending,
            Code::MissingField,
            Code::Forbidden,
            Code::ProviderAuthFailed,
            Code::ControlPlaneError,
            Code::Other("new".into()),
        ]);
        prop_oneof![
            6 => codes.prop_map(Outcome::Refused),
            2 => Just(Outcome::NoAnswer),
            2 => (0..9u8).prop_map(|id| Outcome::Filed(request(&format!("p-{id}")))),
            1 => Just(Outcome::Paired(identity("n"))),
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_hub_says_pairing_makes_sense(
            is_invite in any::<bool>(),
            rounds in prop::collection::vec((outcome(), prop::collection::vec("[a-d]", 0..4)), 1..60),
            is_steady in any::<bool>(),
        ) {
            let mode = if is_invite { PairMode::Invite } else { PairMode::Request };
            let mut machine = Machine::new(mode, Stage::Unpaired);
            let (mut at_once, mut most_invites) = (0, 0);
            let steady = rounds[0].1.clone();
            for (outcome, invites) in rounds {
                let invites = if is_steady { steady.clone() } else { invites };
                let invites: Vec<Secret> = invites.into_iter().map(Secret::new).collect();
                most_invites = most_invites.max(invites.len());
                let step = machine.step(&invites);
                match &step {
                    Step::Join(invite) => {
                        prop_assert!(is_invite);
                        prop_assert!(invites.iter().any(|known| known.matches(invite.expose())));
                    }
                    Step::AwaitInvite => prop_assert!(is_invite && invites.is_empty()),
                    Step::Ask | Step::Poll(_) => prop_assert!(!is_invite),
                    Step::Done(_) => prop_assert!(false, "the end was passed"),
                }
                let pace = machine.note(&step, outcome.clone());
                let is_paired = matches!(machine.stage(), Stage::Paired(_));
                prop_assert_eq!(is_paired, matches!(outcome, Outcome::Paired(_)));
                if is_paired {
                    prop_assert!(matches!(machine.step(&[]), Step::Done(_)));
                    break;
                }
                // No answer makes it ask again and again without a pause.
                at_once = if pace == Pace::Now { at_once + 1 } else { 0 };
                prop_assert!(at_once <= most_invites.max(1), "{} in a row", at_once);
                if matches!(&outcome, Outcome::Refused(code) if is_hopeless(code)) {
                    prop_assert_eq!(pace, Pace::Late);
                }
            }
        }
    }
}
