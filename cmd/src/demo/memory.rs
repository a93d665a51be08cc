//! Looks for something in the memory of a process, by `/proc/PID/mem`.

use super::marker::Needle;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Searched {
    /// Bytes looked at.
    pub(crate) bytes: u64,
    /// Whether the payload's marker was there.
    pub(crate) marker: bool,
    /// Whether the thing that must be there was.
    pub(crate) control: bool,
}

/// Looks through all readable memory of the process `pid` for `marker`, and for `control`, which is known to be
/// there and so shows that the search works. `None` when this process may not look.
pub(crate) fn search(pid: u32, marker: &Needle, control: &Needle) -> Result<Option<Searched>> {
    let opened = File::open(format!("/proc/{pid}/mem")).and_then(|memory| {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        Ok((memory, maps))
    });
    let (memory, maps) = match opened {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        other => other.with_context(|| format!("open the memory of process {pid}"))?,
    };
    let mut searched = Searched {
        bytes: 0,
        marker: false,
        control: false,
    };
    let longest = marker.bytes().len().max(control.bytes().len());
    for (start, end) in maps.lines().filter_map(region) {
        // A region may vanish meanwhile, and pages of a file past its end can't be read: on to the next then.
        let _ = chunks(start, end, longest, &memory, |chunk| {
            searched.bytes += chunk.len() as u64;
            searched.marker |= marker.is_in(chunk);
            searched.control |= control.is_in(chunk);
        });
    }
    Ok(Some(searched))
}

/// Start and end of a region that can be read, from a line of `/proc/PID/maps`.
fn region(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let readable = fields.next()?.starts_with('r');
    // Pages that the kernel lends to every process.
    let kernels = fields.next_back().is_some_and(|name| name.starts_with("[v"));
    let address = |text| u64::from_str_radix(text, 16).ok();
    (readable && !kernels).then_some((address(start)?, address(end)?))
}

/// Reads `start..end` in chunks that overlap by `longest - 1` bytes, so that what lies across a border is in one
/// of them whole.
fn chunks(
    start: u64,
    end: u64,
    longest: usize,
    memory: &impl ReadAt,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let overlap = longest.saturating_sub(1) as u64;
    let mut buffer = vec![0; CHUNK];
    let mut at = start;
    while at < end {
        let length = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        let part = buffer.get_mut(..length).unwrap_or_default();
        let read = memory.read_at(part, at)?;
        each(part.get(..read).unwrap_or_default());
        let next = at + read as u64;
        if read == 0 || next >= end {
            break;
        }
        at = next.saturating_sub(overlap).max(at + 1);
    }
    Ok(())
}

/// A file, or its twin in tests.
trait ReadAt {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ReadAt for Vec<u8> {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = &self[usize::try_from(offset).unwrap()..];
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        }
    }

    #[test]
    fn what_lies_across_a_border_is_found() {
        let needle = Needle::random();
        let length = needle.bytes().len();
        for at in (CHUNK - length - 1)..=CHUNK + 1 {
            let mut memory = vec![0; 2 * CHUNK + 5];
            memory[at..at + length].copy_from_slice(needle.bytes());
            let mut found = false;
            let end = memory.len() as u64;
            chunks(0, end, length, &memory, |chunk| found |= needle.is_in(chunk)).unwrap();
            assert!(found, "at {at}");
        }
    }

    #[test]
    fn only_readable_regions_that_are_the_process_s_own() {
        let line = "7f00-7f10 rw-p 00000000 00:00 0          [heap]";
        assert_eq!(region(line), Some((0x7f00, 0x7f10)));
        assert_eq!(region("7f00-7f10 ---p 00000000 00:00 0"), None);
        assert_eq!(region("7f00-7f10 r--p 00000000 00:00 0     [vvar]"), None);
        assert_eq!(region("nonsense"), None);
    }

    #[test]
    fn this_process_holds_what_it_holds() {
        let held = Needle::random();
        let searched = search(std::process::id(), &held, &held).unwrap().unwrap();
        assert!(searched.control && searched.bytes > 0);
    }
}
