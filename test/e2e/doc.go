// Package e2e tests masq-cni with real programs and real packets. libcni calls the
// plugin's binary in network namespaces, and packets are captured at the far end. Each
// test has a negative control.
//
// The Makefile builds the plugin into $MASQ_BIN and the containernetworking plugins
// into $MASQ_PEERS. The tests need root and the programs of hack/needs.list, and fail if
// one is missing.
package e2e
