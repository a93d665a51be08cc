//! Weft's simulated world
