//! What each connection sends: cycles of requests, encoded ahead where possible.

use spiderweb_protocol::fs::{OpenFlags, Request};
use spiderweb_protocol::limits::MAX_PAGE_ENTRIES;
use spiderweb_protocol::{Base64Text, EntryName, HandleId, InodeId, Tag};
use spiderweb_transport::{Frame, Masking};

use super::{BenchArgs, BenchOp};

/// Blocks of the file that is read, at most; reads go through them in turn.
const BLOCKS: u64 = 64;
/// Largest file that is read, in bytes: it should stay in the node's page cache.
const MOST_BYTES: u64 = 64 << 20;

/// The numbers of a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) op: BenchOp,
    pub(super) connections: u16,
    pub(super) depth: u16,
    pub(super) block: u32,
    pub(super) entries: u32,
}

impl Shape {
    pub(super) fn of(args: &BenchArgs) -> Self {
        Self {
            op: args.op,
            connections: args.connections,
            depth: args.depth,
            block: args.block,
            entries: args.entries,
        }
    }

    /// Length of the file that is read: whole blocks.
    pub(super) fn file_size(self) -> u64 {
        let block = u64::from(self.block);
        block * (MOST_BYTES / block).clamp(1, BLOCKS)
    }

    /// Whether any connection writes.
    pub(super) fn writes(self) -> bool {
        matches!(self.op, BenchOp::Write | BenchOp::Mixed)
    }

    /// Whether any connection reads.
    pub(super) fn reads(self) -> bool {
        matches!(self.op, BenchOp::Read | BenchOp::Mixed)
    }
}

/// The files of a node that the requests are about.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) shape: Shape,
    /// The directory everything is in.
    pub(super) dir: InodeId,
    /// A file in it, its name and what is in it: [`pattern`].
    pub(super) file: InodeId,
    pub(super) name: EntryName,
    /// The directory that is listed.
    pub(super) crowded: InodeId,
    /// A handle of the file for each connection.
    pub(super) readers: Vec<HandleId>,
    /// A handle of a file of its own for each connection; of the service's `control/invoke.json` for invokes.
    pub(super) writers: Vec<HandleId>,
    /// What a service is asked.
    pub(super) payload: String,
}

/// One request of a cycle.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Encoded ahead: small, and the same every time.
    Frame(Frame),
    /// Encoded when it is sent, because it is large.
    Write(Request),
    /// Closes the handle that came last.
    Close,
    /// The next page of a listing.
    Page(InodeId),
}

/// What the answer to a step must say; looked at only when contents are verified, except for handles and cookies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expect {
    Done,
    Attr(u64),
    Handle,
    Data { offset: u64, len: u32 },
    Written(u32),
    Page,
}

/// Requests that together count as one operation.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) steps: Vec<(Step, Expect)>,
    /// Bytes of file contents it moves.
    pub(super) bytes: u64,
}

impl Workload {
    /// Files that nobody has, for a responder that does not look.
    pub(super) fn imaginary(shape: Shape) -> Self {
        let id = InodeId::compose(0, 42).unwrap_or_else(|| unreachable!("42 fits in 48 bits"));
        let handle = HandleId::new(7).unwrap_or_else(|| unreachable!("7 fits in 63 bits"));
        let name = EntryName::new("file").unwrap_or_else(|_| unreachable!("`file` is a name"));
        Self {
            shape,
            dir: id,
            file: id,
            name,
            crowded: id,
            readers: vec![handle; shape.connections.into()],
            writers: vec![handle; shape.connections.into()],
            payload: "{}".to_owned(),
        }
    }

    /// The cycles of one slot of one connection, gone through in turn.
    pub(super) fn cycles(&self, connection: usize, slot: u16, masking: Masking) -> Vec<Cycle> {
        let make = Maker {
            workload: self,
            connection,
            slot,
            masking,
        };
        match self.shape.op {
            BenchOp::Getattr => vec![make.getattr()],
            BenchOp::Lookup => vec![make.lookup()],
            BenchOp::Read => make.reads(),
            BenchOp::Write => make.write().into_iter().collect(),
            BenchOp::Readdirp => vec![make.listing()],
            BenchOp::OpenClose => vec![make.open_close()],
            BenchOp::CreateUnlink => make.create_unlink().into_iter().collect(),
            BenchOp::Invoke => make.invoke().into_iter().collect(),
            BenchOp::Mixed => make.mixed(),
        }
    }
}

/// Makes the cycles of one slot. Its tag is the slot's number, so answers need no table.
struct Maker<'w> {
    workload: &'w Workload,
    connection: usize,
    slot: u16,
    masking: Masking,
}

impl Maker<'_> {
    fn frame(&self, request: &Request) -> Step {
        Step::Frame(encode(self.masking, Tag(self.slot.into()), request))
    }

    fn one(&self, request: &Request, expect: Expect) -> Cycle {
        Cycle {
            steps: vec![(self.frame(request), expect)],
            bytes: 0,
        }
    }

    fn getattr(&self) -> Cycle {
        let id = self.workload.file;
        self.one(&Request::Getattr { id }, Expect::Attr(id.get()))
    }

    fn lookup(&self) -> Cycle {
        let (parent, name) = (self.workload.dir, self.workload.name.clone());
        let expect = Expect::Attr(self.workload.file.get());
        self.one(&Request::Lookup { parent, name }, expect)
    }

    fn reads(&self) -> Vec<Cycle> {
        let Some(&handle) = self.workload.readers.get(self.connection) else {
            return Vec::new();
        };
        let len = self.workload.shape.block;
        let blocks = self.workload.shape.file_size() / u64::from(len);
        // Slots begin at different places.
        let first = u64::from(self.slot) * blocks / u64::from(self.workload.shape.depth);
        (0..blocks)
            .map(|block| {
                let offset = (first + block) % blocks * u64::from(len);
                let request = Request::Read { handle, offset, len };
                Cycle {
                    bytes: len.into(),
                    ..self.one(&request, Expect::Data { offset, len })
                }
            })
            .collect()
    }

    fn write(&self) -> Option<Cycle> {
        let &handle = self.workload.writers.get(self.connection)?;
        let len = self.workload.shape.block;
        let offset = u64::from(self.slot) * u64::from(len);
        let mut contents = vec![0; len as usize];
        fill(offset, &mut contents);
        let data = Base64Text::encode(&contents);
        let request = Request::Write { handle, offset, data };
        let step = if len <= SMALL {
            self.frame(&request)
        } else {
            Step::Write(request)
        };
        Some(Cycle {
            steps: vec![(step, Expect::Written(len))],
            bytes: len.into(),
        })
    }

    /// Always the same bytes at the same place, so that the file need not be emptied before.
    fn invoke(&self) -> Option<Cycle> {
        let &handle = self.workload.writers.get(self.connection)?;
        let payload = self.workload.payload.as_bytes();
        let data = Base64Text::encode(payload);
        let request = Request::Write {
            handle,
            offset: 0,
            data,
        };
        Some(self.one(&request, Expect::Written(payload.len() as u32)))
    }

    fn listing(&self) -> Cycle {
        Cycle {
            steps: vec![(Step::Page(self.workload.crowded), Expect::Page)],
            bytes: 0,
        }
    }

    fn open_close(&self) -> Cycle {
        let open = Request::Open {
            id: self.workload.file,
            flags: OpenFlags::READ,
        };
        Cycle {
            steps: vec![(self.frame(&open), Expect::Handle), (Step::Close, Expect::Done)],
            bytes: 0,
        }
    }

    fn create_unlink(&self) -> Option<Cycle> {
        let parent = self.workload.dir;
        let name = EntryName::new(&format!("new-{}-{}", self.connection, self.slot)).ok()?;
        let create = Request::Create {
            parent,
            name: name.clone(),
            mode: 0o644,
            flags: OpenFlags::READ_WRITE,
        };
        let unlink = Request::Unlink { parent, name };
        Some(Cycle {
            steps: vec![
                (self.frame(&create), Expect::Handle),
                (Step::Close, Expect::Done),
                (self.frame(&unlink), Expect::Done),
            ],
            bytes: 0,
        })
    }

    fn mixed(&self) -> Vec<Cycle> {
        let reads = self.reads();
        let mut cycles = Vec::new();
        for four in reads.chunks(4) {
            for read in four {
                cycles.extend([self.getattr(), self.lookup(), self.getattr(), read.clone()]);
            }
            cycles.extend(self.write());
            cycles.push(self.open_close());
            cycles.extend(self.write());
            cycles.extend(self.create_unlink());
        }
        cycles
    }
}

/// Largest write that is kept encoded for every slot.
const SMALL: u32 = 16 * 1024;

/// A request as a frame.
pub(super) fn encode(masking: Masking, tag: Tag, request: &Request) -> Frame {
    let hint = match request {
        Request::Write { data, .. } => 200 + data.as_bytes().len(),
        _ => 256,
    };
    Frame::text(masking, hint, |out| request.encode(tag, out))
}

/// The request for a page of a listing.
pub(super) fn page(dir: InodeId, cookie: u64) -> Request {
    Request::Readdirp {
        dir,
        cookie,
        max: MAX_PAGE_ENTRIES,
    }
}

/// What is in every file of a measurement: a function of the offset alone, different from block to block.
pub(super) fn pattern(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Fills a buffer with what belongs at an offset.
pub(super) fn fill(offset: u64, buffer: &mut [u8]) {
    for (at, byte) in (offset..).zip(buffer) {
        *byte = pattern(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_what_the_help_says() {
        let shape = Shape {
            op: BenchOp::Mixed,
            connections: 1,
            depth: 1,
            block: 4096,
            entries: 0,
        };
        let cycles = Workload::imaginary(shape).cycles(0, 0, Masking::Client);
        assert_eq!(cycles.len(), 20 * (64 / 4));
        let count = |wanted: fn(&Expect) -> bool| {
            let first = |cycle: &&Cycle| wanted(&cycle.steps[0].1);
            cycles.iter().filter(first).count() / 16
        };
        assert_eq!(count(|e| matches!(e, Expect::Attr(_))), 8 + 4);
        assert_eq!(count(|e| matches!(e, Expect::Data { .. })), 4);
        assert_eq!(count(|e| matches!(e, Expect::Written(_))), 2);
        assert_eq!(count(|e| matches!(e, Expect::Handle)), 2);
    }

    #[test]
    fn reads_cover_the_file_and_slots_begin_apart() {
        let shape = Shape {
            op: BenchOp::Read,
            connections: 1,
            depth: 4,
            block: 1 << 20,
            entries: 0,
        };
        assert_eq!(shape.file_size(), 64 << 20);
        let offsets = |slot| -> Vec<u64> {
            let cycles = Workload::imaginary(shape).cycles(0, slot, Masking::Client);
            cycles
                .iter()
                .map(|cycle| match cycle.steps[0].1 {
                    Expect::Data { offset, .. } => offset >> 20,
                    _ => panic!("not a read"),
                })
                .collect()
        };
        assert_eq!(offsets(1)[0], 16);
        let mut all = offsets(3);
        all.sort_unstable();
        assert_eq!(all, (0..64).collect::<Vec<_>>());
    }
}
