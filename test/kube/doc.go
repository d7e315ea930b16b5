// Package kube tests masq-cni in a real Kubernetes: two nodes and a control plane on one machine.
// Pods' packets are captured on hosts outside the cluster.
//
// # Environment
//
//	                   192.0.2.0/24, 2001:db8:2::/64: a bridge
//	control .10     n1 .11           n2 .12       outside .20      router .1 -- far
//	                  |                |          10.99.0.20          |  198.51.100.2
//	                  +---- MTU 212 ---+------------------------------+
//
// Each machine is a network namespace of test/nstest. A node also has a host name, private /run
// and /etc directories, and a process namespace: when its first process ends, the node is off.
// The disks of all machines are on one tmpfs that is not visible outside. The host outside has
// no route to pods. Traffic to 10.99.0.0/24 is direct by ip-masq-agent's defaults.
//
// hack/kube-build builds Kubernetes and etcd into $MASQ_KUBE, the Makefile the rest.
//
// # Debugging
//
// go test -artifacts -outputdir DIR keeps the logs of every program. If a run is killed, its
// processes and mounts end too, because each node's first process ends with the test's process.
// The next run removes what remains: names of namespaces, and cgroups.
package kube
