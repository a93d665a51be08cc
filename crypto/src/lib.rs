//! Weft's identities, handshakes, sessions and replay windows: pure, no clock, no sockets
