//! Everything of Weft that programs the kernel
