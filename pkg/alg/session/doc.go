// Package session speaks RTSP, PNA and talk on behalf of containers: it copies control
// connections between a container and its server, replaces the addresses and ports that
// they announce, and asks the node to open the ports that were announced.
package session
