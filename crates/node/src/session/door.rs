//! By which door a peer came in, and what that changes.
//!
//! Behind both doors is the same hallway. Through the listener comes one client, which is responsible for what it
//! sends: a message that is none ends its session. Through the tunnel come all clients of a hub: nothing that one of them
//! sends may end the session, or change what the others get. Our hubs' tags tell them apart; original ones' do not.

use std::time::Duration;

use bytes::Bytes;
use spiderweb_protocol::control::{CLIENT_TAG_BITS, FramePeek};
use spiderweb_protocol::limits::MAX_FRAME;
use spiderweb_protocol::strict::Value;
use spiderweb_protocol::{EnvelopeError, Tag};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::TunnelTerms;

/// Pause between two pings through a tunnel (section 8.4).
const PING_EVERY: Duration = Duration::from_secs(20);

/// Silence after which a tunnel counts as broken: both generations of hubs answer pings.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Close payload of a node that stops: 1001, going away.
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// How a peer came in.
pub(super) enum Door {
    /// It connected to us.
    Listener,
    /// We connected to it: a hub, for many.
    Tunnel(Tunnel),
}

/// What has to be known of a tunnel.
pub(super) struct Tunnel {
    frame_limit: usize,
    is_return: bool,
    tags_by_client: bool,
    stop: CancellationToken,
    /// When something came last, and how many bytes had come by then.
    heard: (Instant, u64),
    pinged: Instant,
}

/// What the keep-alive of a tunnel asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Look again then.
    Until(Instant),
    /// Ping, and look again at once.
    Ping,
    /// Nobody is there any more.
    Dead,
}

impl Door {
    pub(super) fn tunnel(terms: TunnelTerms) -> Self {
        let now = Instant::now();
        Self::Tunnel(Tunnel {
            frame_limit: terms.frame_limit,
            is_return: terms.is_return,
            tags_by_client: terms.tags_by_client,
            stop: terms.stop,
            heard: (now, 0),
            pinged: now,
        })
    }

    pub(super) fn frame_limit(&self) -> usize {
        match self {
            Self::Listener => MAX_FRAME,
            Self::Tunnel(tunnel) => tunnel.frame_limit,
        }
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel(_))
    }

    /// Whether everybody is to be told to forget what they know.
    pub(super) fn is_return(&self) -> bool {
        matches!(self, Self::Tunnel(tunnel) if tunnel.is_return)
    }

    /// Which client a request is from, as far as that is known; 0 may be anybody.
    pub(super) fn client_of(&self, tag: Tag) -> u32 {
        match self {
            Self::Tunnel(tunnel) if tunnel.tags_by_client => tag.0 >> CLIENT_TAG_BITS,
            _ => 0,
        }
    }

    /// The signal to end, where it is not the node's.
    pub(super) fn stop(&self) -> Option<CancellationToken> {
        match self {
            Self::Listener => None,
            Self::Tunnel(tunnel) => Some(tunnel.stop.clone()),
        }
    }

    /// The payload of our close frame: the peer's own, if it closed.
    pub(super) fn goodbye(&self, said: Option<&Bytes>) -> Bytes {
        match (self, said) {
            (Self::Listener, _) => Bytes::new(),
            (Self::Tunnel(_), Some(said)) => said.clone(),
            (Self::Tunnel(_), None) => Bytes::from_static(&GOING_AWAY),
        }
    }

    /// What keeping the link alive asks for now; `received` are the bytes received so far. Who does not read must
    /// not take that for silence.
    pub(super) fn pulse(&mut self, now: Instant, received: u64, is_reading: bool) -> Option<Pulse> {
        let Self::Tunnel(tunnel) = self else { return None };
        if !is_reading {
            tunnel.heard.0 = now;
        }
        Some(tunnel.pulse(now, received))
    }

    /// The tag to complain under, of a message that could not be understood as a whole. A client behind a hub that
    /// is answered without tag waits for ever; others never were, and are not used to it.
    pub(super) fn tag_of(&self, frame: &[u8], error: EnvelopeError) -> Option<Tag> {
        use EnvelopeError as E;
        if !self.is_tunnel() {
            return None;
        }
        if !matches!(error, E::MissingField | E::InvalidType | E::UnsupportedType) {
            // A hub that forwards it has seen the tag as well.
            return FramePeek::of(frame).ok()?.tag;
        }
        let root = Value::parse(frame).ok()?;
        let tag = root.member("tag")?.as_unsigned()?;
        u32::try_from(tag).ok().map(Tag)
    }
}

impl Tunnel {
    fn pulse(&mut self, now: Instant, received: u64) -> Pulse {
        if self.heard.1 != received {
            self.heard = (now, received);
        }
        let dead = self.heard.0 + LONGEST_SILENCE;
        // What comes shows that the hub is there as well as a pong would.
        let ping = self.heard.0.max(self.pinged) + PING_EVERY;
        if now >= dead {
            Pulse::Dead
        } else if now >= ping {
            self.pinged = now;
            Pulse::Ping
        } else {
            Pulse::Until(ping.min(dead))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_tunnel_is_pinged_three_times_and_then_given_up() {
        let mut door = Door::tunnel(TunnelTerms {
            frame_limit: MAX_FRAME,
            is_return: false,
            tags_by_client: true,
            stop: CancellationToken::new(),
        });
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(matches!(door.pulse(after(19), 0, true), Some(Pulse::Until(_))));
        assert_eq!(door.pulse(after(21), 0, true), Some(Pulse::Ping));
        assert!(matches!(door.pulse(after(40), 0, true), Some(Pulse::Until(_))));
        assert_eq!(door.pulse(after(42), 0, true), Some(Pulse::Ping));
        assert_eq!(door.pulse(after(62), 0, true), Some(Pulse::Dead));
        assert!(
            matches!(door.pulse(after(62), 2, true), Some(Pulse::Until(at)) if at == after(82)),
            "a pong came after all"
        );
        assert!(
            matches!(door.pulse(after(200), 2, false), Some(Pulse::Until(at)) if at == after(220)),
            "we did not listen"
        );
        assert_eq!(Door::Listener.pulse(start, 0, true), None);
    }

    #[test]
    fn a_tag_is_found_where_there_is_one() {
        let door = Door::tunnel(TunnelTerms {
            frame_limit: MAX_FRAME,
            is_return: false,
            tags_by_client: true,
            stop: CancellationToken::new(),
        });
        for (frame, error, tag) in [
            (
                r#"{"channel":"acheron","type":"acheron.t_fs_nope","tag":8}"#,
                EnvelopeError::UnsupportedType,
                Some(8),
            ),
            (r#"{"tag":4294967296}"#, EnvelopeError::MissingField, None),
            ("{bad", EnvelopeError::Syntax, None),
        ] {
            assert_eq!(door.tag_of(frame.as_bytes(), error), tag.map(Tag), "{frame}");
            assert_eq!(Door::Listener.tag_of(frame.as_bytes(), error), None);
        }
        assert_eq!(door.client_of(Tag((5 << CLIENT_TAG_BITS) + 17)), 5);
        assert_eq!(Door::Listener.client_of(Tag(5 << CLIENT_TAG_BITS)), 0);
    }
}
