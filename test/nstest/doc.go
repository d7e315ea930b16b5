// Package nstest provides network namespaces, links and real packets for end-to-end tests and
// for the demo of the command line.
//
// It needs root and a suitable kernel, but no programs: it uses netlink and system calls. It
// does not change the machine's own network namespace.
//
//	lab, err := nstest.Make("demo")          // in a test: lab := nstest.New(t)
//	defer lab.Close()
//	net, err := lab.Topology(nstest.Uplink{MTU: 212, DropPMTU: true})
//	pod, err := lab.Namespace("pod")         // attached by the plugin: pod.Path()
//	srv, err := net.Server.ServeTCP(netip.AddrPortFrom(net.V4.Server, 80))
//	seen, err := net.Server.Capture("eth0", nil)
//	got, err := pod.Download(ctx, srv.Addr(), 300_000)
//	fmt.Println(got.Bytes, srv.Sources(), seen.Packets())
//
// # Overview
//
// A Lab owns namespaces (NS). They are bound at /run/netns/<prefix>-<pid>-<name>, so
// `ip netns exec` and CNI_NETNS accept them. Connect joins two by a veth pair; Topology builds
// node, router and server. An NS dials, listens, pings, sends raw packets, captures packets and
// starts programs. Servers record the client addresses that they see: the far end's view, which
// tests compare.
//
// # Differences from a real machine
//
// Runs must not depend on the machine's settings or on time:
//   - forwarding and rp_filter are off in a new namespace (IPv4 settings would be inherited from
//     the machine), and ICMP errors are not rate limited;
//   - links of Connect carry one segment at a time (gso_max_segs 1), so a Capture sees packets
//     as on a cable, never 64 kB at once;
//   - links of Connect do no duplicate address detection. Other links in the same namespace do.
//
// In a namespace, /proc/sys/net shows the namespace of the reading process. /sys/class/net shows
// the namespace in which /sys was mounted.
//
// # How to prove that a packet did not pass
//
// Send the packet, then another one that passes on the same path. Wait for the second with
// Capture.Wait, and check the packets before it. Do not sleep: no time is long enough.
//
// # Debugging
//
// A killed test leaves its namespaces; the next run with the same prefix removes them (Sweep).
// `ip -n nt-<pid>-node route` and `ip netns exec nt-<pid>-node nft list ruleset` show the
// state of a running test.
package nstest
