//! What a process costs, from `/proc`.

use std::time::Duration;

use crate::failure::Failure;

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(u32);

impl Process {
    /// Checks that there is such a process.
    pub(super) fn of(pid: u32) -> Result<Self, Failure> {
        let process = Self(pid);
        process.memory()?;
        Ok(process)
    }

    /// Processor time used so far by all its threads, in user and kernel mode.
    pub(super) fn cpu(self) -> Result<Duration, Failure> {
        let stat = self.file("stat")?;
        parse_ticks(&stat)
            .map(|ticks| Duration::from_secs_f64(ticks as f64 / ticks_per_second() as f64))
            .ok_or_else(|| Failure::message(format!("/proc/{}/stat is not as expected", self.0)))
    }

    /// Memory that is resident, in bytes.
    pub(super) fn memory(self) -> Result<u64, Failure> {
        let statm = self.file("statm")?;
        parse_pages(&statm)
            .map(|pages| pages * page_size())
            .ok_or_else(|| Failure::message(format!("/proc/{}/statm is not as expected", self.0)))
    }

    fn file(self, name: &str) -> Result<String, Failure> {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.0)).map_err(|error| {
            Failure::local(format!("cannot examine process {}", self.0), error)
                .hint("--pid takes the node's process id on this machine, where that is Linux")
        })
    }
}

/// User and system time of a `stat` line. The program's name in parentheses may contain anything.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident pages of a `statm` line.
fn parse_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(unix)]
fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

#[cfg(unix)]
fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(not(unix))]
fn ticks_per_second() -> u64 {
    1
}

#[cfg(not(unix))]
fn page_size() -> u64 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 100 1000 200";
        assert_eq!(parse_ticks(stat), Some(46));
        assert_eq!(parse_pages("500 123 10 1 0 30 0\n"), Some(123));
        assert_eq!((parse_ticks(""), parse_pages("")), (None, None));
    }
}
