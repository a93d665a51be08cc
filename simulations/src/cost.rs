//! What a run cost the machine. No part of the simulated world sees it.

use std::time::Duration;

/// What this process used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Time on processors, of all threads, user and system.
    pub cpu: Duration,
    /// The most memory it ever had resident, in bytes.
    pub peak: u64,
}

/// Clock ticks per second in `/proc`: 100 on every architecture that Linux has (`USER_HZ`).
const TICKS: u64 = 100;

impl Cost {
    /// What Linux says now; zeros where there is no `/proc`.
    #[must_use]
    pub fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu: cpu(&stat).unwrap_or_default(),
            peak: peak(&status).unwrap_or_default(),
        }
    }

    /// The time since `before`, and the peak as it is.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            peak: self.peak,
        }
    }
}

/// Fields 14 and 15, counted behind the name, which may hold anything (proc_pid_stat(5)).
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 1000 / TICKS))
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(peak("VmPeak:\t 9 kB\nVmHWM:\t    12 kB\n"), Some(12 * 1024));
        assert!(Cost::now().peak > 1 << 20);
    }
}
