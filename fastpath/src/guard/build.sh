#!/bin/sh
# Makes guard.bpf.o of guard.bpf.c. The object is committed, so that nobody else needs a compiler for it.
# Built with: Debian clang 14.0.6, llvm-strip 14.0.6, libbpf-dev 1.1 (headers only), on x86_64; the object is
# little-endian BPF and the same for all little-endian machines.
set -eu
cd "$(dirname "$0")"
clang -O2 -g -Wall -Wextra -Wno-unused-parameter -mcpu=v2 -target bpf \
  -I"/usr/include/$(uname -m)-linux-gnu" -c guard.bpf.c -o guard.bpf.o
# Strips debug information, keeps the BTF that describes the maps.
llvm-strip --strip-debug guard.bpf.o
