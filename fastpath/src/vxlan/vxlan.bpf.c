// SPDX-License-Identifier: Apache-2.0
//
// The fast path: frames between containers of different hosts in VXLAN (RFC 7348), without userspace.
//
//   port_out   ingress of the host's end of a container's pair, behind the guard. A frame for a MAC address whose
//              router can be reached goes to the VXLAN device, everything else to the bridge.
//   mesh_out   egress of the stub, the bridge's one mesh port. The same, but everything else goes to the TAP, and so
//              to sleeve. A frame for a group goes to each other member of the network, as copies or along this
//              router's tree, if all can be reached; ARP and neighbour solicitations go to the router, which answers
//              them.
//   mesh_in    ingress of the VXLAN device. Takes packets from known neighbours only. What is for this router goes
//              straight into the container that has the address in that network, and what is for a group to the
//              network's stub; what is for another router goes on. What travels along a tree is taken from this
//              router's parent in it, goes to its children, and to the stub.
//   tap_in     ingress of the TAP: what sleeve delivers goes to the stub.
//   hatch_out  egress of the hatch, the stub's other end: the router's own probes.
//
// VNI = network. The group policy id (draft-smith-vxlan-group-policy) carries the label of the destination's router,
// so a relay needs no MAC addresses; with the A bit, that of the source, along whose tree the packet travels. The outer
// TTL carries how far a packet may go: TTL / 32 = relays that may still
// follow the receiver. Every sender fills up the rest with ones, so up to 31 hops of the underlay in between, which
// take one each, change nothing.
//
// A probe is a frame of its own EtherType in VNI 0; mesh_in of the router it is for sends it back, as long as it is,
// by its own way to the asker. So the two programs answer for a hop although the router's process is stopped. One that
// travels along a tree is answered by every router that has the network, and shown to each router, which so hears that
// the tree is used.
// build-ebpf.sh makes vxlan.bpf.o of this.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define PROBE_TYPE 0x88b6	     // IEEE 802 local experimental
#define PROBE_MAGIC 0x57504231	     // "WPB1"
#define ELSEWHERE -2		     // no action of the kernel's
#define FAR 32			     // TTL that stands for one relay
#define GROUP_BIT (1u << 19)	     // A bit of the group policy header: not for one router
#define BY_BRIDGE (1u << 31)	     // of an entry in locals: not straight into the container
#define MEMBERS 4		     // routers that get copies of a frame to a group
#define BRANCHES 32		     // children of a router in a tree
#define GAP 2000000ull		     // ns without a frame after which frames may change overlay

// The order is that of REASONS in mod.rs.
enum reason {
	UNKNOWN_SOURCE, TRUNCATED, NO_LABEL, UNKNOWN_LABEL, LOOP, HOP_LIMIT, NOT_ATTACHED, SPOOFED, UNPROVEN, FORSAKEN,
	NOT_PARENT, REASONS
};

#include "../counted.bpf.h"

enum { ASKS = 1, ANSWERS, ASKS_TREE };	// kinds of probes
enum { CARRIES = 1, RELAYS = 2 };	// of struct hop
enum { READY = 1 };			// of struct tree
enum { FAST_ONLY = 1 };			// of struct settings

struct settings {
	__u64 heartbeat;	// CLOCK_MONOTONIC
	__u64 patience;		// ns after which a router that shows no life is left alone
	__u64 former_until;
	__u16 label, former;	// this router's, and the one before
	__u32 flags;
};

enum { VXLAN, HATCH, DEVICES };

// How a router is reached.
struct hop {
	__u32 address[4];	// of the next router; IPv4 as ::ffff:a.b.c.d
	__u64 from;		// when frames may change to the fast path; 0: they have
	__u64 last;		// when the last one was seen before
	__u16 flags, distance;	// distance: hops to that router, 1 = it is the next
	__u32 reserved;
};

struct place {
	__u32 vni;
	__u8 mac[6];
	__u8 reserved[2];
};

// The routers with ports in a network, this one excepted.
struct group {
	__u16 count, labels[MEMBERS], reserved;
};

// Along which a source's frames for groups travel in a network. Source 0 is this router itself.
struct course {
	__u32 vni;
	__u16 source, reserved;
};

// This router's place there.
struct tree {
	__u64 used;		// when this router last had a frame for its own tree
	__u16 parent;		// label of the neighbour that frames come from
	__u16 depth;		// hops to the furthest member; of this router's own tree
	__u16 flags, count;
	__u16 children[BRANCHES]; // labels of neighbours
};

// Of a stub: its TAP. Of a TAP: its stub. Of a container's port: nothing.
struct port {
	__u32 vni, other;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DEVICES);
	__type(key, __u32);
	__type(value, __u32); // interface
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32); // label
	__type(value, struct hop);
} hops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32[4]); // address of a neighbour
	__type(value, __u32);  // its label
} senders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);	 // label of a neighbour
	__type(value, __u32[4]); // its address
} neighbours SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1048576);
	__type(key, struct place);
	__type(value, __u32); // label of the router behind which it is
} macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct place); // attached to this host
	__type(value, __u32);	   // the host's end of its pair, and whether it is reached over the bridge
} locals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u32); // interface
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);   // VNI
	__type(value, __u32); // its stub
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32); // VNI
	__type(value, struct group);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct course);
	__type(value, struct tree);
} trees SEC(".maps");

// struct bpf_tunnel_key as kernels before 6.0 know it; later ones take this size as well.
struct tunnel {
	__u32 id;
	__u32 remote[4];	// IPv4: the first, in host order
	__u8 tos, ttl;
	__u16 ext;
	__u32 label;
};

// After the Ethernet header.
struct probe {
	__be32 magic;
	__be16 kind;
	__be16 to, from;	// labels
	__be16 distance;	// for hatch_out; 0: as the tables say
	__u8 number[8];
	__u32 via[4];		// the same; of one for a tree the first is the network
} __attribute__((packed, aligned(2)));

static __always_inline struct settings *current(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline int redirect(__u32 device, __u64 flags)
{
	__u32 *ifindex = bpf_map_lookup_elem(&devices, &device);

	return ifindex ? bpf_redirect(*ifindex, flags) : TC_ACT_SHOT;
}

static __always_inline struct hop *way(__u32 label)
{
	return bpf_map_lookup_elem(&hops, &label);
}

static __always_inline int is_v4(const __u32 *address)
{
	return !address[0] && !address[1] && address[2] == bpf_htonl(0xffff);
}

// Puts the frame into a packet for the router at this address. `policy`: the label of the one it is for, or with the A
// bit of the one whose tree it takes. `relays`: that may follow the receiver.
static __always_inline int wrap(struct __sk_buff *skb, const __u32 *address, __u32 vni, __u32 policy, __u32 relays)
{
	struct tunnel key = { .id = vni, .ttl = relays * FAR + FAR - 1 };
	__u64 flags = BPF_F_DONT_FRAGMENT;

	if (is_v4(address)) {
		key.remote[0] = bpf_ntohl(address[3]);
		flags |= BPF_F_ZERO_CSUM_TX;
	} else {
		__builtin_memcpy(key.remote, address, sizeof(key.remote));
		flags |= BPF_F_TUNINFO_IPV6;
	}
	return bpf_skb_set_tunnel_key(skb, (void *)&key, sizeof(key), flags) ||
	       bpf_skb_set_tunnel_opt(skb, &policy, sizeof(policy));
}

static __always_inline int transmit(struct __sk_buff *skb, const struct hop *hop, __u32 vni, __u32 label,
				    __u32 relays)
{
	return wrap(skb, hop->address, vni, label, relays) ? drop(TRUNCATED) : redirect(VXLAN, 0);
}

// True when frames may take the fast path to that router now. They change to it at a gap, or when it is time.
static __always_inline int carries(struct hop *hop)
{
	__u64 now, last;

	if (!(hop->flags & CARRIES))
		return 0;
	if (!hop->from)
		return 1;
	// The coarse clock, which serves elsewhere, is too coarse for gaps.
	now = bpf_ktime_get_ns();
	last = hop->last;
	hop->last = now;
	if (now < hop->from && now - last < GAP)
		return 0;
	hop->from = 0;
	return 1;
}

// To each of a router's children in a tree, but never back.
static __always_inline void branch(struct __sk_buff *skb, const struct tree *tree, __u32 vni, __u32 policy,
				   __u32 relays, __u32 from)
{
	__u32 vxlan = VXLAN, *device = bpf_map_lookup_elem(&devices, &vxlan), child, *address;

	if (!device)
		return;
	for (int i = 0; i < BRANCHES; i++) {
		if (i >= tree->count)
			break;
		child = tree->children[i];
		address = child == from ? 0 : bpf_map_lookup_elem(&neighbours, &child);
		if (address && !wrap(skb, address, vni, policy, relays))
			bpf_clone_redirect(skb, *device, 0);
		else
			count(child == from ? LOOP : UNPROVEN);
	}
}

// Copies for all members' routers, if all are reached: all or none, so nobody gets it twice.
static __always_inline int copy(struct __sk_buff *skb, const struct group *group, __u32 vni)
{
	__u32 vxlan = VXLAN, *device = bpf_map_lookup_elem(&devices, &vxlan);
	struct hop *hop;

	if (!device)
		return ELSEWHERE;
#pragma unroll
	for (int i = 0; i < MEMBERS; i++) {
		if (i >= group->count)
			break;
		hop = way(group->labels[i]);
		if (!hop || !hop->distance || !(hop->flags & CARRIES))
			return ELSEWHERE;
	}
#pragma unroll
	for (int i = 0; i < MEMBERS; i++) {
		if (i >= group->count)
			break;
		hop = way(group->labels[i]);
		if (hop && !wrap(skb, hop->address, vni, group->labels[i], hop->distance - 1))
			bpf_clone_redirect(skb, *device, 0);
	}
	return TC_ACT_SHOT; // what is left after the last copy
}

// A frame for a group: to all other members' routers, or to the TAP.
static __always_inline int spread(struct __sk_buff *skb, const struct settings *own, const struct port *port,
				  const __u8 *mac)
{
	__u32 vni = port->vni;
	struct group *group = bpf_map_lookup_elem(&groups, &vni);
	struct course course = { .vni = vni };
	struct tree *tree = bpf_map_lookup_elem(&trees, &course);
	__u64 now = bpf_ktime_get_coarse_ns();
	int action = ELSEWHERE;

	if (skb->protocol == bpf_htons(ETH_P_ARP) || (mac[0] == 0x33 && mac[1] == 0x33 && mac[2] == 0xff))
		return bpf_redirect(port->other, 0);
	if (tree)
		tree->used = now;
	if ((group || tree) && now > own->heartbeat + own->patience)
		return drop(FORSAKEN);
	if (group && group->count && group->count <= MEMBERS) {
		action = copy(skb, group, vni);
	} else if (tree && tree->flags & READY && tree->depth) {
		branch(skb, tree, vni, own->label | GROUP_BIT, tree->depth - 1, 0);
		action = TC_ACT_SHOT;
	}
	if (action != ELSEWHERE)
		return action;
	return own->flags & FAST_ONLY ? drop(UNPROVEN) : bpf_redirect(port->other, 0);
}

// Sends a frame for one address by the fast path, if it is the way there; ELSEWHERE if it is not.
static __always_inline int try_fast(struct __sk_buff *skb, const struct settings *own, struct place *place)
{
	__u32 *label = bpf_map_lookup_elem(&macs, place);
	struct hop *hop = label ? way(*label) : 0;

	if (!hop || !hop->distance || !carries(hop))
		return ELSEWHERE;
	if (bpf_ktime_get_coarse_ns() > own->heartbeat + own->patience)
		return drop(FORSAKEN);
	return transmit(skb, hop, place->vni, *label, hop->distance - 1);
}

SEC("classifier")
int port_out(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);
	struct settings *own = current();
	struct place place = {};
	int action;

	if (!port || !own || skb->vlan_present || bpf_skb_load_bytes(skb, 0, place.mac, sizeof(place.mac)) ||
	    place.mac[0] & 1)
		return TC_ACT_UNSPEC;
	place.vni = port->vni;
	action = try_fast(skb, own, &place);
	return action == ELSEWHERE ? TC_ACT_UNSPEC : action;
}

SEC("classifier")
int mesh_out(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);
	struct settings *own = current();
	struct place place = {};
	int action;

	if (!port || !own)
		return TC_ACT_SHOT;
	if (bpf_skb_load_bytes(skb, 0, place.mac, sizeof(place.mac)))
		return drop(TRUNCATED);
	if (skb->vlan_present)
		return bpf_redirect(port->other, 0);
	if (place.mac[0] & 1)
		return spread(skb, own, port, place.mac);
	place.vni = port->vni;
	action = try_fast(skb, own, &place);
	if (action != ELSEWHERE)
		return action;
	return own->flags & FAST_ONLY ? drop(UNPROVEN) : bpf_redirect(port->other, 0);
}

// Sends a probe back to whoever asked.
static __always_inline int answer(struct __sk_buff *skb, struct probe *probe, __u32 own, __u32 asker)
{
	struct hop *hop = way(asker);

	if (!hop || !hop->distance)
		return drop(UNKNOWN_LABEL);
	probe->kind = bpf_htons(ANSWERS);
	probe->from = bpf_htons(own);
	probe->to = bpf_htons(asker);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, probe, sizeof(*probe), 0))
		return drop(TRUNCATED);
	return transmit(skb, hop, 0, asker, hop->distance - 1);
}

// A probe for this router: an answer is handed to it, a question sent back.
static __always_inline int probed(struct __sk_buff *skb)
{
	struct probe probe;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &probe, sizeof(probe)) || probe.magic != bpf_htonl(PROBE_MAGIC))
		return drop(TRUNCATED);
	if (probe.kind == bpf_htons(ANSWERS))
		return redirect(HATCH, BPF_F_INGRESS);
	if (probe.kind != bpf_htons(ASKS))
		return drop(UNKNOWN_LABEL);
	return answer(skb, &probe, bpf_ntohs(probe.to), bpf_ntohs(probe.from));
}

// A frame for a container of this host, or for a group.
static __always_inline int deliver(struct __sk_buff *skb, __u32 vni, const struct ethhdr *frame)
{
	struct place place = { .vni = vni };
	__u32 *to;

	__builtin_memcpy(place.mac, frame->h_source, sizeof(place.mac));
	if (bpf_map_lookup_elem(&locals, &place))
		return drop(SPOOFED);
	if (frame->h_dest[0] & 1) {
		to = bpf_map_lookup_elem(&networks, &vni);
		return to ? bpf_redirect(*to, BPF_F_INGRESS) : drop(NOT_ATTACHED);
	}
	__builtin_memcpy(place.mac, frame->h_dest, sizeof(place.mac));
	to = bpf_map_lookup_elem(&locals, &place);
	if (!to)
		return drop(NOT_ATTACHED);
	if (!(*to & BY_BRIDGE))
		return bpf_redirect_peer(*to, 0);
	// The host's own interface: its other end is in no other namespace, and the kernel hands nothing to it there. Or
	// a container with a queue at the host's end.
	to = bpf_map_lookup_elem(&networks, &vni);
	return to ? bpf_redirect(*to, BPF_F_INGRESS) : drop(NOT_ATTACHED);
}

// A probe along a tree: the router hears of it, and where the network is, it is answered.
static __always_inline int probed_tree(struct __sk_buff *skb, const struct settings *own, __u32 vni, __u32 source)
{
	__u32 hatch = HATCH, *device = bpf_map_lookup_elem(&devices, &hatch);
	struct probe probe;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &probe, sizeof(probe)) || probe.magic != bpf_htonl(PROBE_MAGIC) ||
	    probe.kind != bpf_htons(ASKS_TREE) || probe.from != bpf_htons(source) || probe.via[0] != bpf_htonl(vni))
		return drop(TRUNCATED);
	if (device)
		bpf_clone_redirect(skb, *device, BPF_F_INGRESS);
	if (!bpf_map_lookup_elem(&networks, &vni))
		return TC_ACT_SHOT; // a relay's part is done
	return answer(skb, &probe, own->label, source);
}

// What travels along a tree: only from this router's parent there, so that it can't come twice, or in a circle.
static __always_inline int follow(struct __sk_buff *skb, const struct settings *own, const struct tunnel *key,
				  __u32 source, __u32 sender, const struct ethhdr *frame)
{
	struct course course = { .vni = key->id, .source = source };
	struct tree *tree = bpf_map_lookup_elem(&trees, &course);
	int is_probe = frame->h_proto == bpf_htons(PROBE_TYPE);
	__u32 relays = key->ttl / FAR, vni = key->id;

	if (!source || !vni || !(frame->h_dest[0] & 1))
		return drop(NO_LABEL);
	if (source == own->label)
		return drop(LOOP);
	if (!tree || tree->parent != sender) {
		count(NOT_PARENT);
		// The router is to find its place in a tree that is used.
		return is_probe && !tree ? redirect(HATCH, BPF_F_INGRESS) : TC_ACT_SHOT;
	}
	if (relays)
		branch(skb, tree, vni, source | GROUP_BIT, relays - 1, sender);
	else if (tree->count)
		count(HOP_LIMIT);
	if (is_probe)
		return probed_tree(skb, own, vni, source);
	return bpf_map_lookup_elem(&networks, &vni) ? deliver(skb, vni, frame) : TC_ACT_SHOT;
}

SEC("classifier")
int mesh_in(struct __sk_buff *skb)
{
	struct settings *own = current();
	__u32 label, policy = 0, relays, *sender;
	struct ethhdr frame;
	struct tunnel key;
	struct hop *hop;
	__u32 from[4] = { 0, 0, bpf_htonl(0xffff), 0 };
	__u64 now;

	if (!own)
		return TC_ACT_SHOT;
	if (!bpf_skb_get_tunnel_key(skb, (void *)&key, sizeof(key), 0))
		from[3] = bpf_htonl(key.remote[0]);
	else if (!bpf_skb_get_tunnel_key(skb, (void *)&key, sizeof(key), BPF_F_TUNINFO_IPV6))
		__builtin_memcpy(from, key.remote, sizeof(from));
	else
		return drop(TRUNCATED);
	sender = bpf_map_lookup_elem(&senders, &from);
	if (!sender)
		return drop(UNKNOWN_SOURCE);
	now = bpf_ktime_get_coarse_ns();
	if (now > own->heartbeat + own->patience)
		return drop(FORSAKEN);
	if (bpf_skb_load_bytes(skb, 0, &frame, sizeof(frame)))
		return drop(TRUNCATED);
	if (bpf_skb_get_tunnel_opt(skb, &policy, sizeof(policy)) < (int)sizeof(policy))
		return drop(NO_LABEL);
	label = policy & 0xffff;
	if (policy & GROUP_BIT)
		return follow(skb, own, &key, label, *sender, &frame);
	if (!label)
		return drop(NO_LABEL);
	if (label == own->label || (label == own->former && now < own->former_until)) {
		if (!key.id)
			return frame.h_proto == bpf_htons(PROBE_TYPE) ? probed(skb) : drop(NOT_ATTACHED);
		return deliver(skb, key.id, &frame);
	}
	hop = way(label);
	if (!hop || !hop->distance)
		return drop(UNKNOWN_LABEL);
	if (hop->address[0] == from[0] && hop->address[1] == from[1] && hop->address[2] == from[2] &&
	    hop->address[3] == from[3])
		return drop(LOOP);
	relays = key.ttl / FAR;
	if (!relays || hop->distance > relays)
		return drop(HOP_LIMIT);
	if (!(hop->flags & RELAYS))
		return drop(UNPROVEN);
	return transmit(skb, hop, key.id, label, relays - 1);
}

SEC("classifier")
int tap_in(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);

	return port ? bpf_redirect(port->other, BPF_F_INGRESS) : TC_ACT_SHOT;
}

SEC("classifier")
int hatch_out(struct __sk_buff *skb)
{
	struct probe probe;
	struct ethhdr frame;
	struct hop other = {}, *hop = &other;
	struct settings *own = current();
	struct course course = {};
	struct tree *tree;
	__u32 label;

	if (bpf_skb_load_bytes(skb, 0, &frame, sizeof(frame)) || frame.h_proto != bpf_htons(PROBE_TYPE) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, &probe, sizeof(probe)))
		return TC_ACT_SHOT;
	if (probe.kind == bpf_htons(ASKS_TREE)) {
		course.vni = bpf_ntohl(probe.via[0]);
		tree = bpf_map_lookup_elem(&trees, &course);
		if (own && tree && tree->depth)
			branch(skb, tree, course.vni, own->label | GROUP_BIT, tree->depth - 1, 0);
		return TC_ACT_SHOT;
	}
	label = bpf_ntohs(probe.to);
	__builtin_memcpy(other.address, probe.via, sizeof(other.address));
	other.distance = bpf_ntohs(probe.distance);
	if (!other.distance)
		hop = way(label);
	if (!hop || !hop->distance)
		return TC_ACT_SHOT;
	return transmit(skb, hop, 0, label, hop->distance - 1);
}

char _license[] SEC("license") = "Apache-2.0";
