// Package sockets reads which ports the services of the node have, so that no flow of a
// container leaves with one of them.
//
// The kernel lists sockets by sock_diag (netlink, without privilege): TCP sockets that
// listen, and UDP sockets that are not connected. Sockets of the kernel, as WireGuard's
// and VXLAN's, are among them. To see the same by hand: ss -lntu.
package sockets
