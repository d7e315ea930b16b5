package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// pluginName is what the kernel calls the plugin's process.
const pluginName = "masq"

// Watcher receives the transactions that change the kernel's ruleset.
type Watcher struct {
	file *os.File
	buf  []byte
	own  uint32      // the address of the Conn, whose changes need no description
	next Transaction // the one whose notifications are being read
}

// watchBuffer is the room for notifications that were not read yet, in bytes.
const watchBuffer = 8 << 20

// Watch begins to receive all transactions that are made after it returns. Transactions
// that c makes are marked: the kernel names the socket that made each.
func (c *Conn) Watch() (w *Watcher, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("watch: %w", explain(err))
		}
	}()
	addr, err := unix.Getsockname(c.s.fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	own, ok := addr.(*unix.SockaddrNetlink)
	if !ok {
		return nil, fmt.Errorf("the socket's address is %T", addr)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	w = &Watcher{file: os.NewFile(uintptr(fd), "nftables"), buf: make([]byte, 64<<10), own: own.Pid}
	err = errors.Join(
		os.NewSyscallError("setsockopt SO_RCVBUFFORCE", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer)),
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})),
		w.member(unix.NETLINK_ADD_MEMBERSHIP))
	if err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	c.watch = w
	return w, nil
}

// member begins or ends to listen.
func (w *Watcher) member(option int) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt NETLINK_ADD_MEMBERSHIP", unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, option, unix.NFNLGRP_NFTABLES))
	})
	if errors.Is(err, os.ErrClosed) {
		return nil // the Watcher has ended
	}
	return errors.Join(err, failed)
}

// Run calls f for each transaction until the context ends, which is no error. If there
// were more notifications than the buffer holds, it calls f with lost and a zero
// Transaction; the transactions that follow are complete again.
func (w *Watcher) Run(ctx context.Context, f func(t Transaction, lost bool)) error {
	stop := context.AfterFunc(ctx, func() { _ = w.file.Close() })
	defer stop()
	defer func() { _ = w.file.Close() }()
	raw, err := w.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	for {
		var n int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			n, _, readErr = unix.Recvfrom(int(fd), w.buf, unix.MSG_TRUNC)
			return !errors.Is(readErr, unix.EAGAIN)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch nftables: %w", err)
		case errors.Is(readErr, unix.ENOBUFS):
			if err := w.drain(raw); err != nil && ctx.Err() == nil {
				return fmt.Errorf("watch nftables: %w", err)
			}
			w.lose(f)
			continue
		case errors.Is(readErr, unix.EINTR):
			continue
		case readErr != nil:
			return fmt.Errorf("watch nftables: %w", os.NewSyscallError("recvfrom", readErr))
		}
		if n > len(w.buf) || w.read(w.buf[:n], f) != nil {
			w.lose(f) // what cannot be read may have been about our table
		}
	}
}

// drain empties the socket. One that was full takes nothing until it is empty, and
// does not say so a second time (netlink_overrun and netlink_rcv_wake in
// af_netlink.c): whoever looked before that could miss what came next.
func (w *Watcher) drain(raw syscall.RawConn) error {
	var readErr error
	err := raw.Control(func(fd uintptr) {
		for readErr == nil || errors.Is(readErr, unix.ENOBUFS) || errors.Is(readErr, unix.EINTR) {
			_, _, readErr = unix.Recvfrom(int(fd), w.buf, 0)
		}
	})
	switch {
	case err != nil:
		return err
	case !errors.Is(readErr, unix.EAGAIN):
		return os.NewSyscallError("recvfrom", readErr)
	}
	return nil
}

// lose reports that notifications were lost, and forgets what those before said of a
// transaction whose end may be among the lost ones.
func (w *Watcher) lose(f func(Transaction, bool)) {
	w.next = Transaction{}
	f(Transaction{}, true)
}

// read gathers notifications into transactions. The kernel ends each transaction with a
// message that has its generation and the process that made it.
func (w *Watcher) read(b []byte, f func(Transaction, bool)) error {
	return split(b, func(m message) error {
		if m.typ>>8 != unix.NFNL_SUBSYS_NFTABLES {
			return nil
		}
		if len(m.body) < nfgenmsgLen {
			return errTruncated
		}
		body, own := m.body[nfgenmsgLen:], m.port == w.own
		if typ := m.typ & 0xff; typ != unix.NFT_MSG_NEWGEN {
			if own || m.body[0] != unix.NFPROTO_INET {
				return nil
			}
			// The table's name is attribute 1 in every message of nf_tables.
			name, err := inside(body, unix.NFTA_TABLE_NAME)
			if err != nil || string(unended(name)) != ruleset.Name {
				return err
			}
			return w.next.take(typ, body)
		}
		gen, err := fields(body)
		if err != nil {
			return err
		}
		t := w.next
		w.next = Transaction{}
		t.Generation, t.Own, t.Process = number(gen[unix.NFTA_GEN_ID]), own, text(gen[unix.NFTA_GEN_PROC_NAME])
		f(t, false)
		return nil
	})
}
