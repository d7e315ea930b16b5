// Package sockets reads which ports the node's services use, so that no flow of a container
// leaves with one of them.
//
// The kernel lists sockets by sock_diag (netlink, without privilege): TCP sockets that
// listen, and UDP sockets that are not connected. Kernel sockets, such as WireGuard's
// and VXLAN's, are included.
//
// To debug: ss -lntu lists the same sockets.
package sockets
