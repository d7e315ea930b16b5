// Package sockets lists the sockets of a network namespace.
//
// List and Services return the ports of the node's services, so that no flow of a container
// leaves with one of them: TCP sockets that listen, and UDP sockets that are not connected.
// Kernel sockets, such as WireGuard's and VXLAN's, are included.
//
// Connections yields TCP connections with what the kernel measured of them: segments that were
// sent again, bytes that were acknowledged, the MSS and the MTU of the path.
//
// The kernel lists sockets by sock_diag (netlink, without privilege).
//
// To debug: ss -lntu lists the same sockets as List, and ss -tnmi lists the connections.
package sockets
