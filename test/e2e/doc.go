// Package e2e proves masq-cni with real programs and real packets: the plugin's
// binary called through libcni in network namespaces, the packets read at the far
// end, and each proof beside its negative control.
//
// The Makefile builds the plugin into $MASQ_BIN and the containernetworking plugins
// into $MASQ_PEERS. The tests need root and the programs of hack/needs.list; where
// one is missing they fail.
package e2e
