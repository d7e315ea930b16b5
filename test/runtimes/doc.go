// Package runtimes proves masq-cni with real container runtimes: containerd 1.6 and
// 2, driven by CRI over their socket as the kubelet does it, ctr, and podman with
// its CNI backend. Packets are read at the far end, and each proof stands beside
// its negative control.
//
// The package is a module of its own: what it takes to speak CRI and to pack an
// image is no dependency of the product.
//
// # What is where
//
// A node is the node of an nstest.Topology with a runtime in it. It has namespaces
// of its own for processes, mounts and cgroups, so that /run, /etc, /opt and
// /var/lib are its own and the runtimes run with their default paths; the machine's
// containerd and podman are not touched. When the node's first process ends, and it
// ends with the test, whatever became of that, the kernel ends all others, and with
// them go mounts and pods.
//
// The Makefile builds the programs of the product into $MASQ_BIN, the
// containernetworking plugins into $MASQ_PEERS, containerd 2 into
// $MASQ_CONTAINERD2 and the program of the containers' image, pod, to $MASQ_POD. The
// tests need root and the programs of hack/needs.list; where one is missing they
// fail.
//
// # Debugging
//
// `nsenter --all --target PID` enters a node that is at work; PID is that of its
// first process, the child of an unshare. What containerd and masqd said is shown
// when a test fails.
package runtimes
