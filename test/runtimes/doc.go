// Package runtimes tests masq-cni with real container runtimes: containerd 1.6 and 2, called
// by CRI over their socket as the kubelet does, ctr, and podman with its CNI backend. Packets
// are captured at the far end, and each test has a negative control.
//
// The package is a separate module: the product does not depend on CRI or on image libraries.
//
// # Environment
//
// A node is the node of an nstest.Topology with a runtime in it. It has its own namespaces for
// processes, mounts and cgroups, so that /run, /etc, /opt and /var/lib are private and the
// runtimes run with their default paths. The machine's containerd and podman are not touched.
// The node's first process ends with the test, even if the test is killed. Then the kernel
// ends all other processes of the node, and mounts and pods end with them.
//
// The Makefile builds the programs of the product into $MASQ_BIN, the containernetworking
// plugins into $MASQ_PEERS, containerd 2 into $MASQ_CONTAINERD2, and the program of the
// containers' image, pod, to $MASQ_POD. The tests need root and the programs of
// hack/needs.list, and fail if one is missing.
//
// # Debugging
//
// `nsenter --all --target PID` enters a running node. PID is its first process, the child of
// an unshare. The output of containerd and masqd is logged when a test fails.
package runtimes
