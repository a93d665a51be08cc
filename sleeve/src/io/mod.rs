//! The seam to the operating system: a UDP socket and a TAP, as the data threads see them.
//!
//! Both take and give whole packets in buffers of the caller's. [`memory`] has twins without a kernel.

pub mod memory;

use std::io;
use std::net::SocketAddr;

/// The data port.
pub trait Udp: Send + Sync {
    /// Fills `batch` with datagrams that came, as many as are there and fit. Whether an empty socket makes it wait
    /// is the socket's affair; an empty batch is no error.
    ///
    /// # Errors
    /// Those of the operating system.
    fn recv(&self, batch: &mut Batch) -> io::Result<()>;

    /// Sends one datagram, never fragmented by IP.
    ///
    /// # Errors
    /// Those of the operating system: `EMSGSIZE` for one larger than the interface's MTU.
    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()>;
}

/// The network's port that the containers' bridge leads to.
pub trait Tap: Send + Sync {
    /// Reads one Ethernet frame into `frame` and returns its length; 0: none is there.
    ///
    /// # Errors
    /// Those of the operating system.
    fn recv(&self, frame: &mut [u8]) -> io::Result<usize>;

    /// Writes one Ethernet frame.
    ///
    /// # Errors
    /// Those of the operating system.
    fn send(&self, frame: &[u8]) -> io::Result<()>;
}

/// Datagrams received together, in buffers that are used again and again.
#[derive(Debug)]
pub struct Batch {
    slots: Vec<Slot>,
    filled: usize,
}

#[derive(Debug)]
struct Slot {
    bytes: Box<[u8]>,
    length: usize,
    from: SocketAddr,
}

impl Batch {
    /// Room for `count` datagrams of at most `size` bytes.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        let slot = || Slot {
            bytes: vec![0; size].into(),
            length: 0,
            from: ([0, 0, 0, 0], 0).into(),
        };
        Self {
            slots: std::iter::repeat_with(slot).take(count).collect(),
            filled: 0,
        }
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// How many datagrams are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// True if no datagram is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// True if no more fit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.slots.len()
    }

    /// Lets `read` write one more datagram; it returns how long that is and where it came from. False if it
    /// returned `None` or the batch is full.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn push_with(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<Option<(usize, SocketAddr)>>,
    ) -> io::Result<bool> {
        let Some(slot) = self.slots.get_mut(self.filled) else {
            return Ok(false);
        };
        let Some((length, from)) = read(&mut slot.bytes)? else {
            return Ok(false);
        };
        (slot.length, slot.from) = (length.min(slot.bytes.len()), from);
        self.filled += 1;
        Ok(true)
    }

    /// The datagrams, each with its sender.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.slots[..self.filled]
            .iter_mut()
            .map(|slot| (slot.from, &mut slot.bytes[..slot.length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_what_fits() {
        let from: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let mut batch = Batch::new(2, 4);
        assert!(!batch.push_with(|_| Ok(None)).unwrap());
        for n in 1..=2u8 {
            let pushed = batch.push_with(|bytes| {
                bytes[0] = n;
                Ok(Some((100, from)))
            });
            assert!(pushed.unwrap());
        }
        assert!(batch.is_full() && !batch.is_empty());
        assert!(!batch.push_with(|_| Ok(Some((1, from)))).unwrap());
        let got: Vec<_> = batch
            .iter_mut()
            .map(|(from, bytes)| (from, bytes[0], bytes.len()))
            .collect();
        assert_eq!(got, [(from, 1, 4), (from, 2, 4)]);
        batch.clear();
        assert_eq!(batch.len(), 0);
    }
}
