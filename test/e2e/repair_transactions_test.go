package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

// transaction is a committed change of the node's ruleset.
type transaction struct {
	at      time.Time // when its notification was read
	program string    // the program that made it
}

// transactions receives the kernel's notifications of transactions, which name the program.
// They are earlier and more exact than any listing.
type transactions struct {
	queue chan transaction
	// change is the latest transaction of nft, for a test that needs it at once.
	change chan transaction
	end    context.CancelFunc
	done   chan error
}

// watchTransactions receives notifications of all transactions from its return to the end of
// the test.
func (w *world) watchTransactions() *transactions {
	w.t.Helper()
	fd := -1
	assert.NoError(w.t, w.Node.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	}))
	assert.NoError(w.t, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		// So that run notices the end of its context.
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, generationsOnly()),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)))
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	x := &transactions{queue: make(chan transaction, 1000), change: make(chan transaction, 1), end: cancel, done: make(chan error, 1)}
	go func() {
		defer unix.Close(fd)
		x.done <- x.run(ctx, fd)
	}()
	w.t.Cleanup(func() {
		cancel()
		assert.NoError(w.t, <-x.done)
	})
	return x
}

// newGeneration is the type of the message that ends a transaction.
const newGeneration = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN

// generationsOnly is a filter for those messages, so that receiving a transaction costs the
// same whatever its size.
func generationsOnly() *unix.SockFprog {
	// The type is the third field of a message, in the byte order of the machine. The
	// filter loads values in network byte order.
	typ := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, newGeneration))
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(typ), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	return &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
}

func (x *transactions) run(ctx context.Context, fd int) error {
	// A thread with real-time priority waits in the kernel and runs first when a
	// notification arrives. Otherwise a busy machine would delay the times. The thread ends
	// with the goroutine. Without the privilege, times are sometimes late.
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		at := time.Now()
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("notification of nftables: %w", err)
		}
		for _, m := range messages {
			if m.Header.Type != newGeneration {
				return fmt.Errorf("a message of type %#x", m.Header.Type)
			}
			program, err := committer(m.Data)
			if err != nil {
				return err
			}
			one := transaction{at, program}
			select {
			case x.queue <- one:
			default:
				return fmt.Errorf("no test reads the transactions: %d are queued", len(x.queue))
			}
			if program == "nft" {
				select {
				case x.change <- one:
				default: // no test waits for it
				}
			}
		}
	}
	return nil
}

// committer returns the program in the notification of a new generation.
func committer(body []byte) (string, error) {
	if len(body) < nl.SizeofNfgenmsg {
		return "", fmt.Errorf("a new generation of %d bytes", len(body))
	}
	attributes, err := nl.ParseRouteAttr(body[nl.SizeofNfgenmsg:])
	if err != nil {
		return "", fmt.Errorf("a new generation: %w", err)
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.NFTA_GEN_PROC_NAME {
			return strings.TrimRight(string(a.Value), "\x00"), nil
		}
	}
	return "", errors.New("a new generation that names no program")
}

// next returns the next transaction of a program.
func (x *transactions) next(t testing.TB, program string) transaction {
	t.Helper()
	ctx := soon(t)
	for {
		select {
		case one := <-x.queue:
			if one.program == program {
				return one
			}
		case err := <-x.done:
			x.done <- err
			t.Fatalf("receiving transactions ended: %v", err)
		case <-ctx.Done():
			t.Fatalf("%s never committed a transaction", program)
		}
	}
}

// programs lists the programs of the queued transactions.
func (x *transactions) programs() (out []string) {
	for {
		select {
		case one := <-x.queue:
			out = append(out, one.program)
		default:
			return out
		}
	}
}

// forget discards the queued transactions.
func (x *transactions) forget() {
	for {
		select {
		case <-x.queue:
		case <-x.change:
		default:
			return
		}
	}
}
