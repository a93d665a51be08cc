//! What passes an interface, written to a file; and whether a marker is found in it.

use fastpath::NetNs;
use fastpath::wire::{End, PacketSocket};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of the kernel's buffer; the default loses frames of a busy wire.
const BUFFER: usize = 64 << 20;

/// A running capture.
pub struct Capture {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Capture {
    /// Starts to write all frames of an interface, one after the other, to a file.
    pub fn start(netns: &NetNs, ifname: &str, path: PathBuf) -> Self {
        let socket = PacketSocket::of_interface(End { netns, ifname }).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).unwrap();
        socket.set_timeout(Duration::from_millis(100)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut file = File::create(&path).unwrap();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut frame, mut bytes) = (vec![0; 1 << 17], 0);
            loop {
                match socket.receive(&mut frame) {
                    Ok(length) => {
                        file.write_all(&frame[..length]).unwrap();
                        bytes += length as u64;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if stopped.load(Ordering::Relaxed) {
                            return bytes;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => panic!("capture: {error}"),
                }
            }
        });
        Self {
            path,
            stop,
            thread: Some(thread),
        }
    }

    /// Ends once the wire is quiet for a moment; returns the file and how many bytes were captured.
    pub fn stop(mut self) -> (PathBuf, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let bytes = self.thread.take().unwrap().join().unwrap();
        (self.path.clone(), bytes)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// True if the file holds the text. `grep` is far faster than a test that was not optimised.
pub fn holds(path: &Path, text: &str) -> bool {
    let status = Command::new("grep")
        .args(["-qaF", text])
        .arg(path)
        .status()
        .unwrap();
    match status.code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("grep {}: {other:?}", path.display()),
    }
}

/// Writes all memory of a process to a file; returns how many bytes.
pub fn dump_memory(pid: u32, path: &Path) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut file = File::create(path).unwrap();
    let (mut chunk, mut total) = (vec![0; 1 << 20], 0);
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        let special = line.ends_with("[vvar]") || line.ends_with("[vsyscall]");
        if !rights.starts_with('r') || special {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let mut at = u64::from_str_radix(from, 16).unwrap();
        let end = u64::from_str_radix(to, 16).unwrap();
        while at < end {
            let wanted = chunk.len().min((end - at) as usize);
            // A mapping that went away meanwhile can't be read.
            let Ok(length @ 1..) = memory.read_at(&mut chunk[..wanted], at) else {
                break;
            };
            file.write_all(&chunk[..length]).unwrap();
            at += length as u64;
            total += length as u64;
        }
    }
    total
}
