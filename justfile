# Short names for what one does all day. `just` lists them.

default:
    @just --list

# Everything that must hold before a change lands.
ci:
    .ci/run

# The tests; namespace tests need root and skip without it.
test *args:
    cargo test --workspace {{args}}

# Three hosts, a relay and an encrypted mesh on this machine.
demo:
    cargo run --release -- demo

# Format, then lint.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Read the documentation.
docs:
    cargo doc --workspace --no-deps --document-private-items --open

# Random faults at 20 to 60 routers, seed after seed; a seed that fails is shrunk and printed as a scenario.
sim seeds="2000" first="1":
    cargo run --release -- simulate swarm --seed {{first}} --seeds {{seeds}} --jobs 2 --shrink

# (Large arrays get pages of their own: without that, what glibc leaves between them is a fifth of it all.)
# What a large mesh costs, beside the goals: just figures 1000 spread heal; without the join: just figures 10000 --placed kill
figures routers="10000" *stages="all":
    MALLOC_MMAP_THRESHOLD_=131072 cargo run --release -p simulations --example figures -- --routers {{routers}} {{stages}}

# The kernel's fast path beside raw veth and static VXLAN; needs root.
fastpath:
    bench/fastpath

# How long a CNI ADD takes, beside the reference plugin `bridge`; needs root and containernetworking-plugins.
cni-latency *rounds:
    bench/cni {{rounds}}

# Sleeve beside other tunnels, and what containers send compared by checksum at full length; need root.
sleeve:
    bench/sleeve
payload *tests:
    bench/payload {{tests}}

# Every scenario that comes with the program, on several seeds.
scenarios seeds="20":
    for name in $(cargo run --quiet --release -- simulate --list | awk '{ print $1 }'); do \
      cargo run --quiet --release -- simulate $name --seeds {{seeds}} || exit 1; done

# The program under a stock Debian kernel in QEMU, with netem and ESP: just kernel-lab esp
kernel-lab *scenarios:
    lab/run {{scenarios}}

# Breaks the core a line at a time; a scenario must notice each.
mutations:
    simulations/mutations/run

# A thousand routers divide a range, are cut off and restart, and give out a hundred thousand addresses: none twice.
addresses:
    cargo test --release -p simulations --test addresses -- --ignored --nocapture

# What giving out one address costs the core.
allocate:
    cargo run --release -p mesh --example allocate_cost

# A hundred containers on each of two Docker hosts at once; nothing of them may be left. Needs root and docker.io.
docker-cycles:
    WEFT_TEST_CYCLES=100 WEFT_TEST_SECONDS=900 cargo test -p cmd --test docker -- --nocapture cycles
