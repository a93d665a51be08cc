# What scenarios share: hosts on a switch, routers on them, containers. Sourced by lab/init.

# busybox prefers its own.
ip() { /bin/ip "$@"; }
tc() { /bin/tc "$@"; }

say() { echo "lab: $*"; }

# `! command` never ends a scenario; this does, if the command succeeds.
fails() { if "$@" >/tmp/fails 2>&1; then say "should have failed: $*"; return 1; fi; }

# Waits until a command succeeds: until_ok SECONDS COMMAND…
until_ok() {
  local left=$1
  shift
  until "$@" >/tmp/until 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || { say "not in time: $*"; cat /tmp/until; return 1; }
    sleep 1
  done
}

# host NAME NUMBER: a namespace with 10.9.0.NUMBER on the switch.
host() {
  ip link show switch >/dev/null 2>&1 || { ip link add switch type bridge; ip link set switch up; }
  ip netns add "$1"
  ip link add "u-$1" type veth peer name under netns "$1"
  ip link set "u-$1" master switch up
  ip -n "$1" link set lo up
  ip -n "$1" link set under up
  ip -n "$1" addr add "10.9.0.$2/24" dev under
}

# weft_on HOST ARGUMENT…: a verb, said to the router there.
weft_on() {
  local host=$1
  shift
  ip netns exec "$host" weft --socket "/run/$host.sock" --state-dir "/tmp/$host" "$@"
}

# launch HOST OPTION…: a router there, in the background.
launch() {
  local host=$1
  shift
  WEFT_SECRET=$SECRET weft_on "$host" launch --name "$host" "$@" >"/tmp/$host.log" 2>&1 &
  until_ok 30 test -S "/run/$host.sock"
}

# container HOST NUMBER: one with 10.32.0.NUMBER, named cNUMBER.
container() {
  ip netns add "c$2"
  weft_on "$1" attach --netns "c$2" "10.32.0.$2/12" >/dev/null
}

# reaches FROM TO: one ping between containers.
reaches() { ip netns exec "c$1" ping -n -c 1 -W 2 "10.32.0.$2"; }

# moves FROM TO KIB: random bytes over TCP between containers, compared.
moves() {
  mkdir -p /tmp/www
  dd if=/dev/urandom of=/tmp/www/sent bs=1k count="$3" 2>/dev/null
  ip netns exec "c$2" httpd -f -p 7000 -h /tmp/www &
  local server=$!
  until_ok 30 ip netns exec "c$1" wget -q -O /tmp/received "http://10.32.0.$2:7000/sent"
  kill "$server"
  cmp /tmp/www/sent /tmp/received
  say "$3 KiB over TCP are what was sent"
}

SECRET=$(weft secret new)
