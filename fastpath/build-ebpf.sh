#!/bin/sh
# Makes the eBPF objects of their sources. The objects are committed, so that nobody else needs a compiler for them;
# tests/objects.rs builds them again, where that compiler is installed, and compares.
# Built with: Debian clang 14.0.6, llvm-strip 14.0.6, libbpf-dev 1.1 (headers only), on x86_64; the objects are
# little-endian BPF and the same for all little-endian machines.
# Usage: build-ebpf.sh [DIRECTORY]   (default: beside the sources)
set -eu
cd "$(dirname "$0")/src"
for name in guard vxlan; do
  out="${1:-$name}/$name.bpf.o"
  (
    to="$(realpath "$(dirname "$out")")/$name.bpf.o"
    cd "$name"
    clang -O2 -g -Wall -Wextra -Wno-unused-parameter -mcpu=v2 -target bpf \
      -I"/usr/include/$(uname -m)-linux-gnu" -ffile-prefix-map="$PWD=." -c "$name.bpf.c" -o "$to"
    # Strips debug information, keeps the BTF that describes the maps.
    llvm-strip --strip-debug "$to"
  )
done
