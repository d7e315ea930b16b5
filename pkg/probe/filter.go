package probe

import (
	"golang.org/x/sys/unix"
)

// icmpFilter is ICMP_FILTER in linux/icmp.h: a set bit blocks a type.
const icmpFilter = 1

// filterICMP makes a raw socket receive errors only.
func filterICMP(fd int, is4 bool) error {
	if is4 {
		pass := uint32(1<<3 | 1<<11)
		return unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(^pass)))
	}
	var f unix.ICMPv6Filter // a set bit blocks a type
	for i := range f.Data {
		f.Data[i] = ^uint32(0)
	}
	f.Data[0] &^= 1<<1 | 1<<2 | 1<<3
	return unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &f)
}

// filterTCP makes a raw socket receive segments from a port with SYN or RST only: the others
// are the traffic of the container.
func filterTCP(fd int, port uint16, is4 bool) error {
	// A raw socket of IPv4 receives the IP header too, and X becomes its length. A raw socket
	// of IPv6 receives the TCP header and what follows.
	load := unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH}
	if !is4 {
		load = unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_IMM}
	}
	program := []unix.SockFilter{
		load,
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(port), Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: synFlag | rstFlag, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}
