// Package kube proves masq-cni in a real Kubernetes: two nodes and a control plane
// on one machine, pods' packets read by hosts outside the cluster.
//
// # What is where
//
//	                   192.0.2.0/24, 2001:db8:2::/64: a bridge
//	control .10     n1 .11           n2 .12       outside .20      router .1 -- far
//	                  |                |          10.99.0.20          |  198.51.100.2
//	                  +---- MTU 212 ---+------------------------------+
//
// Each is a network namespace of test/nstest. A node, besides, has a host name, a
// /run and an /etc of its own, and its processes see none but their own: when the
// first of them ends, the node is off. The disks of all are one tmpfs that nobody
// outside sees. Outside has no route to pods; to 10.99.0.0/24 traffic is direct by
// what ip-masq-agent takes for granted.
//
// hack/kube-build builds Kubernetes and etcd into $MASQ_KUBE, the Makefile the rest.
//
// # Debugging
//
// go test -artifacts -outputdir DIR keeps the logs of every program. A run that is
// killed takes its processes and mounts with it, since each node's first process
// ends with the test's; the next run removes what remains: namespaces' names and
// control groups.
package kube
