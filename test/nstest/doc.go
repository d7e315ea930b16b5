// Package nstest gives network namespaces, links and real packets, for the end
// to end tests and for the demo of the command line.
//
// It needs root and a kernel, no program: everything is netlink and system
// calls. Nothing in it touches the namespace of the machine.
//
//	lab, err := nstest.Make("demo")          // in a test: lab := nstest.New(t)
//	defer lab.Close()
//	net, err := lab.Topology(nstest.Uplink{MTU: 212, DropPMTU: true})
//	pod, err := lab.Namespace("pod")         // wired by the plugin: pod.Path()
//	srv, err := net.Server.ServeTCP(netip.AddrPortFrom(net.V4.Server, 80))
//	seen, err := net.Server.Capture("eth0", nil)
//	got, err := pod.Download(ctx, srv.Addr(), 300_000)
//	fmt.Println(got.Bytes, srv.Sources(), seen.Packets())
//
// # What is where
//
// A Lab owns namespaces (NS). They are bound at /run/netns/<prefix>-<pid>-<name>,
// so `ip netns exec` and CNI_NETNS take them. Connect joins two by a veth pair;
// Topology builds node, router and server. An NS dials, listens, pings, sends
// raw packets, captures and starts programs. Servers record the sources that
// they see: that is the view of the far end that tests are about.
//
// # What is not as on a machine
//
// So that a run does not depend on the settings of the machine or on time:
//   - forwarding and rp_filter are off in a new namespace, whatever the machine
//     has (IPv4 settings are inherited from it otherwise), and ICMP errors are
//     not rate limited;
//   - links of Connect carry one segment at a time (gso_max_segs 1): what a
//     Capture sees is what a wire would have carried, never 64 kB at once;
//   - links of Connect do no duplicate address detection. A link made by someone
//     else in the same namespace does.
//
// /proc/sys/net is that of the namespace for whatever runs in it, /sys/class/net
// is not: it belongs to whoever mounted it.
//
// # How to prove that a packet did not pass
//
// Send it, then send another that does pass the same way, wait for that one with
// Capture.Wait, and look at what came before it. No sleep is long enough.
//
// # Debugging
//
// A test that is killed leaves its namespaces; the next run of the same prefix
// removes them (Sweep). `ip -n nt-<pid>-node route` and
// `ip netns exec nt-<pid>-node nft list ruleset` look inside a running one.
package nstest
