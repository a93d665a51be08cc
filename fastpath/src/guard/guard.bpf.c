// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The kernel lets programs under the GPL read its own structures, so this one may be had under that as well.
//
// The port guard. Two programs at the clsact ingress hook:
//
//   guard_port  before the host's end of each container's pair. A frame passes when it comes from the port's own
//               MAC address and, if it is ARP, IPv4 or IPv6, from one of the port's own IP addresses; and it is
//               neither a DHCP server's answer nor a router advertisement or redirect. What the host forwards for
//               containers has other IP addresses: its port may send packets, but no ARP, from any. What they send each
//               other goes past the bridge: were it seen by the host's netfilter on the bridge (br_netfilter), the host
//               could not translate its addresses. What passes counts against the port's limit, if it has one; what is
//               beyond that is dropped, before it is sent on by whatever way.
//   guard_host  before the bridge's own side, where frames for the host itself arrive. Nothing passes.
//
// What can't be parsed does not pass: a header cut short counts as a spoofed address, a chain of headers too long,
// which hides something, as an advertisement.
// build-ebpf.sh makes guard.bpf.o of this. Loops are unrolled, so that old verifiers see none.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>

#define PASS TC_ACT_UNSPEC // whoever hangs behind us may decide
#define MAX_EXTENSIONS 8
#define MAX_TAGS 2
#define CHECKSUM_PARTIAL 3 // as in linux/skbuff.h
#define NOWHERE 0x7fffffff
#define SECOND 1000000000ull // in ns
#define TCP 32 // bytes of a TCP header with time stamps
#define PORTS 6 // no protocol has its checksum before, and the guard looks at no more behind the addresses

// The order is that of REASONS in mod.rs.
enum reason { SPOOFED_MAC, SPOOFED_ADDRESS, DHCP_SERVER, ROUTER_ADVERTISEMENT, HOST_BOUND, OVER_LIMIT, REASONS };

#include "../counted.bpf.h"

struct port {
	__u8 mac[6];
	__u8 gate;
	__u8 limited; // it has a bucket
	__u32 network; // of the gate
};

// What of Gate in observe.rs a port is.
enum gate { NO_GATE, THROUGH, HOST };

struct place {
	__u32 network;
	__u8 mac[6];
	__u8 reserved[2];
};

struct end {
	__u32 ifindex;
	__u32 gate;
};

struct address {
	__u32 ifindex;
	__u32 ip[4]; // IPv4 as ::ffff:a.b.c.d
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32); // ifindex
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct place);
	__type(value, struct end);
} ends SEC(".maps"); // of ports with a gate

// How much may be sent. Instead of tokens it holds time: a frame takes as long as it would at the rate, and time fills the
// bucket up. One number says how full it is, nothing is lost by rounding however often frames come, and a long pause needs
// no care. It is read and written under a lock: kernels know locks (5.1) for longer than atomics that give back what was
// there (5.12), and a limited port's frames come from one processor or few.
struct bucket {
	struct bpf_spin_lock lock;
	__u32 reserved;
	__u64 rate; // bytes in a second
	__u64 depth; // ns that a burst takes at the rate
	__u64 full; // when it will be (CLOCK_MONOTONIC)
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32); // ifindex
	__type(value, struct bucket);
} buckets SEC(".maps");

struct ipv4 {
	__u8 version_length, tos;
	__be16 length, id, fragment;
	__u8 ttl, protocol;
	__be16 checksum;
	__be32 source, destination;
};

struct ipv6 {
	__u8 version_class, rest[3];
	__be16 length;
	__u8 next, limit;
	__be32 source[4], destination[4];
};

struct arp {
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
};

static __always_inline int load(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes(skb, offset, to, size);
}

// Parts of the kernel's structure; where they are there, the loader finds out.
struct sk_buff {
	__u32 csum; // start and offset, if the checksum is left open
	__u16 mac_header;
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

// Set by the loader if the kernel tells.
volatile const __u8 sees_open = 0;

// A sender may leave the checksum to whoever sends the frame on, and say where it belongs (PACKET_VNET_HDR needs no more
// than CAP_NET_RAW). Behind the guard the kernel writes it there, be it over an address. The place, from the frame's start.
static __always_inline int open_checksum(struct __sk_buff *skb)
{
	struct sk_buff *kernels = (void *)skb;
	__u16 frame = 0;
	__u32 open = 0;

	if (!sees_open || BPF_CORE_READ_BITFIELD_PROBED(kernels, ip_summed) != CHECKSUM_PARTIAL)
		return NOWHERE;
	// What can't be read is taken for the worst.
	if (bpf_core_read(&open, sizeof(open), &kernels->csum) || bpf_core_read(&frame, sizeof(frame), &kernels->mac_header))
		return 0;
	return (int)(open & 0xffff) + (int)(open >> 16) - frame;
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5]));
}

static __always_inline int own_v4(__u32 ifindex, __be32 ip)
{
	struct address key = { ifindex, { 0, 0, bpf_htonl(0xffff), ip } };

	return bpf_map_lookup_elem(&addresses, &key) != 0;
}

// One of the port's addresses, or the link-local address made of its MAC (RFC 4291, appendix A).
static __always_inline int own_v6(__u32 ifindex, const struct port *port, const __be32 *ip)
{
	struct address key = { ifindex, { ip[0], ip[1], ip[2], ip[3] } };
	const __u8 *mac = port->mac;
	__u32 high = (__u32)(mac[0] ^ 2) << 24 | (__u32)mac[1] << 16 | (__u32)mac[2] << 8 | 0xff;
	__u32 low = 0xfeu << 24 | (__u32)mac[3] << 16 | (__u32)mac[4] << 8 | mac[5];

	if (ip[0] == bpf_htonl(0xfe800000) && !ip[1] && ip[2] == bpf_htonl(high) && ip[3] == bpf_htonl(low))
		return 1;
	return bpf_map_lookup_elem(&addresses, &key) != 0;
}

static __always_inline int guard_arp(struct __sk_buff *skb, __u32 at, const struct port *port, int open)
{
	struct arp arp;
	__be32 sender;

	if (open != NOWHERE || load(skb, at, &arp, sizeof(arp)) || arp.hardware_length != 6 || arp.protocol_length != 4)
		return drop(SPOOFED_ADDRESS);
	if (!same_mac(arp.sender_mac, port->mac))
		return drop(SPOOFED_MAC);
	__builtin_memcpy(&sender, arp.sender_ip, sizeof(sender));
	// A request from 0.0.0.0 asks whether an address is taken (RFC 5227) and teaches nobody anything.
	if (!sender && arp.operation == bpf_htons(1))
		return PASS;
	return own_v4(skb->ifindex, sender) ? PASS : drop(SPOOFED_ADDRESS);
}

// `server`: the port from which a DHCP server of this IP version answers.
// Servers are known by either end's port, since clients do not all look at the sender's.
static __always_inline int guard_udp(struct __sk_buff *skb, __u32 at, __u16 server, __u16 client)
{
	__be16 ends[2];

	if (load(skb, at, ends, sizeof(ends)))
		return drop(SPOOFED_ADDRESS);
	return ends[0] == bpf_htons(server) || ends[1] == bpf_htons(client) ? drop(DHCP_SERVER) : PASS;
}

static __always_inline int guard_v4(struct __sk_buff *skb, __u32 at, const struct port *port, int open)
{
	struct ipv4 ip;
	__be16 ends[2];
	__u32 payload;
	int later;

	if (load(skb, at, &ip, sizeof(ip)) || ip.version_length >> 4 != 4 || (ip.version_length & 15) < 5)
		return drop(SPOOFED_ADDRESS);
	payload = at + (ip.version_length & 15) * 4;
	if (open < (int)payload + PORTS)
		return drop(SPOOFED_ADDRESS);
	later = (ip.fragment & bpf_htons(0x1fff)) != 0;
	if (!(port->gate == HOST && ip.source) && !own_v4(skb->ifindex, ip.source)) {
		// Without an address one may ask for one (RFC 2131), and say which groups one listens to (RFC 3376).
		if (ip.source || later)
			return drop(SPOOFED_ADDRESS);
		if (ip.protocol == 2)
			return PASS;
		if (ip.protocol != 17 || load(skb, payload, ends, sizeof(ends)) || ends[1] != bpf_htons(67))
			return drop(SPOOFED_ADDRESS);
	}
	if (ip.protocol != 17 || later)
		return PASS;
	return guard_udp(skb, payload, 67, 68);
}

static __always_inline int guard_icmp6(struct __sk_buff *skb, __u32 at, const struct port *port, int nameless)
{
	__be32 target[4];
	__u8 type;

	if (load(skb, at, &type, sizeof(type)))
		return drop(SPOOFED_ADDRESS);
	if (type == 134 || type == 137)
		return drop(ROUTER_ADVERTISEMENT);
	// An advertisement speaks for its target; a solicitation without a source claims it (RFC 4862).
	if (type != 136 && !(type == 135 && nameless))
		return PASS;
	if (load(skb, at + 8, target, sizeof(target)))
		return drop(SPOOFED_ADDRESS);
	return own_v6(skb->ifindex, port, target) ? PASS : drop(SPOOFED_ADDRESS);
}

static __always_inline int guard_v6(struct __sk_buff *skb, __u32 at, const struct port *port, int open)
{
	struct ipv6 ip;
	int nameless;
	__u8 next;

	if (load(skb, at, &ip, sizeof(ip)) || ip.version_class >> 4 != 6)
		return drop(SPOOFED_ADDRESS);
	nameless = !(ip.source[0] | ip.source[1] | ip.source[2] | ip.source[3]);
	if (!nameless && port->gate != HOST && !own_v6(skb->ifindex, port, ip.source))
		return drop(SPOOFED_ADDRESS);
	next = ip.next;
	at += sizeof(ip);
#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 header[4];

		// No kernel leaves it open in ICMPv6, of which the guard looks at more.
		if (open < (int)at + PORTS || (open != NOWHERE && next == 58))
			return drop(SPOOFED_ADDRESS);
		if (next == 58)
			return guard_icmp6(skb, at, port, nameless);
		// Without an address one can only look for one, and that is ICMP.
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60 && next != 135 && nameless)
			return drop(SPOOFED_ADDRESS);
		if (next == 17)
			return guard_udp(skb, at, 547, 546);
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60 && next != 135)
			return PASS;
		if (load(skb, at, header, sizeof(header)))
			return drop(SPOOFED_ADDRESS);
		if (next == 44) {
			// A later fragment is nothing without the first, and that must hold the whole chain (RFC 7112).
			if (header[2] || header[3] & 0xf8)
				return nameless ? drop(SPOOFED_ADDRESS) : PASS;
			at += 8;
		} else if (next == 51) {
			at += (header[1] + 2) * 4;
		} else {
			at += (header[1] + 1) * 8;
		}
		next = header[0];
	}
	return drop(ROUTER_ADVERTISEMENT);
}

// Takes the frame out of the port's bucket. Its bytes are those from the Ethernet header on, of a super-frame those of all
// segments that will be made of it, which have `headers` bytes before the data: as queues count (qdisc_pkt_len). Each frame
// passes that finds something left, and may leave a debt, so that a burst can be smaller than a super-frame.
static __always_inline int is_within_limit(struct __sk_buff *skb, const struct port *port, __u32 headers)
{
	__u32 ifindex = skb->ifindex, size = skb->gso_size;
	__u64 bytes = skb->len, now, from;
	struct bucket *bucket;
	int is_within;

	if (!port->limited)
		return 1;
	bucket = bpf_map_lookup_elem(&buckets, &ifindex);
	if (!bucket || !bucket->rate)
		return 0;
	if (size && bytes > headers + size)
		bytes += (bytes - headers - 1) / size * headers;
	bytes = (bytes * SECOND + bucket->rate - 1) / bucket->rate;
	now = bpf_ktime_get_ns();
	bpf_spin_lock(&bucket->lock);
	from = bucket->full > now ? bucket->full : now;
	is_within = from - now <= bucket->depth;
	if (is_within)
		bucket->full = from + bytes;
	bpf_spin_unlock(&bucket->lock);
	return is_within;
}

// What passes goes on; between the host and those it forwards for by the short way.
static __always_inline int passed(const struct port *port, const __u8 *destination)
{
	struct place place = { port->network, {}, {} };
	struct end *end;

	if (port->gate == NO_GATE)
		return PASS;
	__builtin_memcpy(place.mac, destination, sizeof(place.mac));
	end = bpf_map_lookup_elem(&ends, &place);
	return end && end->gate != port->gate ? bpf_redirect(end->ifindex, 0) : PASS;
}

SEC("classifier")
int guard_port(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);
	int open = open_checksum(skb);
	__u32 at = ETH_HLEN, headers = 0;
	struct ethhdr frame;
	int verdict;
	__be16 type;

	if (!port || load(skb, 0, &frame, sizeof(frame)) || !same_mac(frame.h_source, port->mac))
		return drop(SPOOFED_MAC);
	type = frame.h_proto;
	// The kernel has taken the first VLAN tag off already; what is left are tags within.
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if (load(skb, at + 2, &type, sizeof(type)))
			return drop(SPOOFED_ADDRESS);
		at += 4;
	}
	switch (type) {
	case bpf_htons(ETH_P_ARP):
	case bpf_htons(ETH_P_RARP):
		verdict = guard_arp(skb, at, port, open);
		break;
	case bpf_htons(ETH_P_IP):
		verdict = guard_v4(skb, at, port, open);
		headers = at + sizeof(struct ipv4) + TCP;
		break;
	case bpf_htons(ETH_P_IPV6):
		verdict = guard_v6(skb, at, port, open);
		headers = at + sizeof(struct ipv6) + TCP;
		break;
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return drop(SPOOFED_ADDRESS);
	default:
		verdict = open < (int)at ? drop(SPOOFED_ADDRESS) : PASS;
	}
	if (verdict != PASS)
		return verdict;
	if (!is_within_limit(skb, port, headers))
		return drop(OVER_LIMIT);
	return headers ? passed(port, frame.h_dest) : PASS;
}

SEC("classifier")
int guard_host(struct __sk_buff *skb)
{
	__u8 first;

	// Broadcasts come by here too, as they go to every port; they are not meant for the host.
	if (load(skb, 0, &first, sizeof(first)) || first & 1)
		return TC_ACT_SHOT;
	return drop(HOST_BOUND);
}

char _license[] SEC("license") = "GPL";
