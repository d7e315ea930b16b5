package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// transaction is one change of a namespace's nftables, and when it was heard of: at
// its end, whoever made it.
type transaction struct {
	at time.Time
	by string // name of the thread that made it
}

// transactions hears of those of a namespace.
type transactions struct {
	file *os.File
	C    chan transaction
}

func listen(n *nstest.NS) (*transactions, error) {
	l := &transactions{C: make(chan transaction, 10000)}
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		l.file = os.NewFile(uintptr(fd), "nftables")
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
			unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES))
	})
	if err != nil {
		return nil, fmt.Errorf("listen to nftables: %w", err)
	}
	go l.run()
	return l, nil
}

func (l *transactions) close() error { return l.file.Close() }

// run ends with the file, and closes C.
func (l *transactions) run() {
	defer close(l.C)
	buf := make([]byte, 64<<10)
	for {
		n, err := l.file.Read(buf)
		if err != nil {
			return // also where something was lost: whoever waits sees no end
		}
		now := time.Now()
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return
			}
			if binary.NativeEndian.Uint16(b[4:]) == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN {
				l.C <- transaction{now, maker(b[unix.NLMSG_HDRLEN+4 : size])}
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// maker is NFTA_GEN_PROC_NAME among the attributes of a notification.
func maker(b []byte) string {
	for len(b) >= unix.NLA_HDRLEN {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.NLA_HDRLEN || size > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.NFTA_GEN_PROC_NAME {
			return strings.TrimRight(string(b[unix.NLA_HDRLEN:size]), "\x00")
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return ""
}
