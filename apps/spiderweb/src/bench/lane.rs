//! One connection of a measurement: the hot path.
//!
//! The lane owns its socket and has as many slots as requests outstanding. A slot's number is the tag of its
//! requests, so an answer leads to its slot without a table, and nothing is allocated but the frames themselves.

use std::future::poll_fn;
use std::task::{Context, Poll};

use spiderweb_client::{Glance, Options};
use spiderweb_protocol::fs::{Incoming, Request};
use spiderweb_protocol::{HandleId, Tag};
use spiderweb_transport::{Frame, Masking, Message, WebSocket};
use tokio::time::Instant;

use super::BenchArgs;
use super::connect::connect_all;
use super::tally::Tally;
use super::workload::{Cycle, Expect, Step, Workload, encode, page, pattern};
use crate::failure::Failure;

/// When measuring begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

/// One connection.
pub(super) struct Lane {
    /// Its number among the connections of the measurement.
    number: usize,
    socket: WebSocket,
    slots: Vec<Slot>,
    tally: Tally,
    entries: u64,
    verify: bool,
    times: Times,
    ended: bool,
    outstanding: usize,
}

/// One request outstanding.
struct Slot {
    tag: Tag,
    cycles: Vec<Cycle>,
    cycle: usize,
    step: usize,
    started: Instant,
    /// The handle that the last open or create gave.
    handle: Option<HandleId>,
    /// Where the next page begins.
    cookie: u64,
    /// A step of the cycle was refused.
    refused: bool,
    /// A write was acknowledged, now or earlier.
    wrote: bool,
}

impl Lane {
    /// Connects all lanes of a workload.
    pub(super) async fn dial_all(
        options: &Options,
        workload: &Workload,
        args: &BenchArgs,
        verify: bool,
    ) -> Result<Vec<Self>, Failure> {
        let sockets = connect_all(options, args.connections.into()).await?;
        let lanes = sockets.into_iter().enumerate().map(|(connection, socket)| {
            let masking = socket.masking();
            let slots = (0..workload.shape.depth)
                .map(|slot| Slot::new(slot, workload.cycles(connection, slot, masking)))
                .collect();
            Self::new(connection, socket, slots, workload.shape.entries, verify)
        });
        Ok(lanes.collect())
    }

    fn new(number: usize, socket: WebSocket, slots: Vec<Slot>, entries: u32, verify: bool) -> Self {
        let now = Instant::now();
        Self {
            number,
            socket,
            slots,
            tally: Tally::default(),
            entries: entries.into(),
            verify,
            times: Times { begin: now, end: now },
            ended: false,
            outstanding: 0,
        }
    }

    /// A lane beside those that are measured, with one request outstanding.
    pub(super) fn alone(socket: WebSocket, workload: &Workload) -> Self {
        let masking = socket.masking();
        let slot = Slot::new(0, workload.cycles(0, 0, masking));
        Self::new(0, socket, vec![slot], 0, false)
    }

    /// Keeps every slot busy until the end, then waits for what is outstanding.
    pub(super) async fn run(mut self, times: Times) -> Result<Tally, Failure> {
        self.times = times;
        for index in 0..self.slots.len() {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.started = Instant::now();
            }
            self.send(index);
        }
        poll_fn(|cx| self.poll(cx)).await?;
        let written = self.slots.iter().zip(0..).filter(|(slot, _)| slot.wrote);
        self.tally
            .written
            .extend(written.map(|(_, slot)| (self.number, slot)));
        Ok(self.tally)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            loop {
                match self.socket.next_buffered() {
                    Ok(Some(message)) => self.take(message)?,
                    Ok(None) => break,
                    Err(error) => return Poll::Ready(Err(lost(error))),
                }
            }
            if self.outstanding == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(error)) = self.socket.poll_flush(cx) {
                return Poll::Ready(Err(lost(error)));
            }
            match self.socket.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(lost("the node closed it"))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<(), Failure> {
        let frame = match message {
            Message::Text(frame) => frame,
            Message::Ping(payload) => {
                self.socket.queue(Frame::pong(self.socket.masking(), &payload));
                return Ok(());
            }
            Message::Pong => return Ok(()),
            Message::Close(_) => return Err(lost("the node closed it")),
            Message::Unsupported { opcode } => return Err(lost(format!("a frame with opcode {opcode}"))),
        };
        match Glance::at(&frame).map_err(lost)? {
            Glance::Reply(tag) => self.answered(tag, &frame, false),
            Glance::Error(tag) => {
                self.note_refusal(&frame);
                self.answered(tag, &frame, true)
            }
            Glance::ConnectionError => Err(lost(String::from_utf8_lossy(&frame))),
            Glance::Event => {
                self.tally.events += 1;
                Ok(())
            }
        }
    }

    #[cold]
    fn note_refusal(&mut self, frame: &[u8]) {
        let errno = match Incoming::parse(frame) {
            Ok(Incoming::Error { error, .. }) => error.errno.number(),
            _ => 0,
        };
        *self.tally.errors.entry(errno).or_default() += 1;
    }

    fn answered(&mut self, tag: Tag, frame: &[u8], refused: bool) -> Result<(), Failure> {
        let index = tag.0 as usize;
        self.tally.answered += 1;
        self.outstanding = self.outstanding.saturating_sub(1);
        let Some(slot) = self.slots.get_mut(index) else {
            return Err(lost(format!(
                "an answer with the tag {}, which was never used",
                tag.0
            )));
        };
        slot.refused |= refused;
        let expect = slot.expects();
        slot.wrote |= !refused && matches!(expect, Expect::Written(_));
        if self.verify && !refused && !matches(expect, frame, self.entries) {
            self.tally.wrong += 1;
        }
        if slot.learn(expect, frame, &mut self.tally.entries) {
            self.send(index);
            return Ok(());
        }
        let now = Instant::now();
        if !slot.refused && now >= self.times.begin && now < self.times.end {
            self.tally.ops += 1;
            self.tally.bytes += slot.cycles.get(slot.cycle).map_or(0, |cycle| cycle.bytes);
            if let Some(latency) = &mut self.tally.latency {
                // Grows as needed, so every latency fits.
                let _ = latency.record((now - slot.started).as_nanos() as u64);
            }
        }
        self.ended |= now >= self.times.end;
        slot.next_cycle(now);
        if !self.ended {
            self.send(index);
        }
        Ok(())
    }

    /// Sends what a slot has to send next.
    fn send(&mut self, index: usize) {
        let masking = self.socket.masking();
        if let Some(frame) = self.slots.get(index).and_then(|slot| slot.frame(masking)) {
            self.socket.queue(frame);
            self.tally.sent += 1;
            self.outstanding += 1;
        }
    }
}

impl Slot {
    fn new(number: u16, cycles: Vec<Cycle>) -> Self {
        Self {
            tag: Tag(number.into()),
            cycles,
            cycle: 0,
            step: 0,
            started: Instant::now(),
            handle: None,
            cookie: 0,
            refused: false,
            wrote: false,
        }
    }

    fn current(&self) -> Option<&(Step, Expect)> {
        self.cycles.get(self.cycle)?.steps.get(self.step)
    }

    fn expects(&self) -> Expect {
        self.current().map_or(Expect::Done, |(_, expect)| *expect)
    }

    fn frame(&self, masking: Masking) -> Option<Frame> {
        let (step, _) = self.current()?;
        Some(match step {
            Step::Frame(frame) => frame.clone(),
            Step::Write(request) => encode(masking, self.tag, request),
            Step::Close => encode(masking, self.tag, &Request::Close { handle: self.handle? }),
            Step::Page(dir) => encode(masking, self.tag, &page(*dir, self.cookie)),
        })
    }

    /// Takes from an answer what later steps need, goes to the next step and says whether there is one.
    fn learn(&mut self, expect: Expect, frame: &[u8], entries: &mut u64) -> bool {
        match expect {
            Expect::Handle => {
                self.handle = number_after(frame, b"\"h\":").and_then(HandleId::new);
            }
            Expect::Page if !self.refused => {
                let next = last_number_after(frame, b"\"next\":").unwrap_or(self.cookie);
                let more = next > self.cookie && !ends(frame);
                *entries += next.saturating_sub(self.cookie);
                self.cookie = if more { next } else { 0 };
                if more {
                    return true;
                }
            }
            _ => {}
        }
        self.step += 1;
        // A close of something that was not opened is left out.
        if self.handle.is_none() && matches!(self.current(), Some((Step::Close, _))) {
            self.step += 1;
        }
        self.current().is_some()
    }

    fn next_cycle(&mut self, now: Instant) {
        self.cycle = if self.cycle + 1 < self.cycles.len() {
            self.cycle + 1
        } else {
            0
        };
        self.step = 0;
        self.cookie = 0;
        self.handle = None;
        self.refused = false;
        self.started = now;
    }
}

pub(super) fn lost(reason: impl std::fmt::Display) -> Failure {
    Failure::message(format!("a connection was lost: {reason}"))
}

/// Whether an answer says what it must.
fn matches(expect: Expect, frame: &[u8], entries: u64) -> bool {
    let Ok(Incoming::Reply { payload, .. }) = Incoming::parse(frame) else {
        return false;
    };
    match expect {
        Expect::Done => true,
        Expect::Attr(id) => payload.attr().is_ok_and(|attr| attr.id == id),
        Expect::Handle => number_after(frame, b"\"h\":").is_some(),
        Expect::Data { offset, len } => payload.data().is_ok_and(|(data, eof)| {
            !eof && data.len() == len as usize && (offset..).zip(&data).all(|(at, byte)| *byte == pattern(at))
        }),
        Expect::Written(len) => payload.written().is_ok_and(|written| written == u64::from(len)),
        // With `.` and `..`.
        Expect::Page => payload
            .listing()
            .is_ok_and(|page| !page.eof || page.next == entries + 2),
    }
}

/// The number behind a member's name, which must not occur earlier in the frame.
fn number_after(frame: &[u8], name: &[u8]) -> Option<u64> {
    let at = frame.windows(name.len()).position(|window| window == name)?;
    digits(frame.get(at + name.len()..)?)
}

/// Bytes at the end of a listing in which its last members are.
const LISTING_TAIL: usize = 160;

fn last_number_after(frame: &[u8], name: &[u8]) -> Option<u64> {
    let tail = frame.get(frame.len().saturating_sub(LISTING_TAIL)..)?;
    let at = tail.windows(name.len()).rposition(|window| window == name)?;
    digits(tail.get(at + name.len()..)?)
}

fn ends(frame: &[u8]) -> bool {
    let tail = frame
        .get(frame.len().saturating_sub(LISTING_TAIL)..)
        .unwrap_or_default();
    tail.windows(10).any(|window| window == b"\"eof\":true")
}

fn digits(text: &[u8]) -> Option<u64> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    std::str::from_utf8(text.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_without_parsing() {
        let opened = br#"{"channel":"acheron","type":"acheron.r_fs_open","tag":3,"ok":true,"payload":{"h":9,"caps":{"rd":true,"wr":false},"gen":1}}"#;
        assert_eq!(number_after(opened, b"\"h\":"), Some(9));
        let listing = br#"{"type":"acheron.r_fs_readdirp","payload":{"ents":[{"name":"\"next\":1"}],"next":12,"next_cookie":12,"eof":false,"dir_gen":5}}"#;
        assert_eq!(last_number_after(listing, b"\"next\":"), Some(12));
        assert!(!ends(listing) && ends(br#"{"next":3,"eof":true,"dir_gen":1}}"#));
        assert_eq!(number_after(b"{}", b"\"h\":"), None);
    }
}
