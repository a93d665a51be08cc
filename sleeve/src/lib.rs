//! Weft's userspace data path: encrypted Ethernet frames over UDP

pub mod ethernet;
