package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// prefix begins the names of namespaces and directories.
const prefix = "mbench"

// site is the place of a measurement: namespaces and a directory, which close removes.
type site struct {
	lab  *nstest.Lab
	dir  string // directory of leases and records
	free []*nstest.NS
	made int
}

// memory is a file system without a disk, so that the cost of creating and removing files is
// not part of the comparison.
const memory = "/dev/shm"

func newSite() (*site, error) {
	if err := errors.Join(nstest.Sweep(prefix), sweep()); err != nil {
		return nil, err
	}
	lab, err := nstest.Make(prefix)
	if err != nil {
		return nil, err
	}
	s := &site{lab: lab, dir: filepath.Join(memory, fmt.Sprintf("%s-%d", prefix, os.Getpid()))}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	return s, nil
}

// sweep removes the directories of killed runs.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(memory, prefix+"-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), prefix+"-"))
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

func (s *site) close() error { return errors.Join(s.lab.Close(), os.RemoveAll(s.dir)) }

// pods returns n namespaces of containers that are not attached.
func (s *site) pods(n int) ([]*nstest.NS, error) {
	for len(s.free) < n {
		s.made++
		pod, err := s.lab.Namespace(fmt.Sprintf("pod%d", s.made))
		if err != nil {
			return nil, err
		}
		s.free = append(s.free, pod)
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	return out, nil
}

// giveBack takes back namespaces that are no longer attached.
func (s *site) giveBack(pods []*nstest.NS) { s.free = append(s.free, pods...) }

// node is a namespace in which plugins are called. far is a server at the other end of its
// uplink, which has no route to containers.
type node struct {
	*nstest.NS
	far *nstest.NS
	dir string
}

// The addresses of far, which is the gateway too.
var (
	far4 = netip.MustParseAddr("192.0.2.1")
	far6 = netip.MustParseAddr("2001:db8:1::1")
)

func (s *site) node(name string) (*node, error) {
	n := &node{dir: filepath.Join(s.dir, name)}
	var err error
	if n.NS, err = s.lab.Namespace(name); err != nil {
		return nil, err
	}
	if n.far, err = s.lab.Namespace(name + "-far"); err != nil {
		return nil, err
	}
	up, eth := nstest.End{NS: n.NS, Name: "uplink"}, nstest.End{NS: n.far, Name: "eth0"}
	if err := nstest.Connect(up, eth, 1500); err != nil {
		return nil, err
	}
	return n, errors.Join(
		ordinary(up), ordinary(eth),
		n.AddAddress("uplink", netip.PrefixFrom(far4.Next(), 24)), n.far.AddAddress("eth0", netip.PrefixFrom(far4, 24)),
		n.AddAddress("uplink", netip.PrefixFrom(far6.Next(), 64)), n.far.AddAddress("eth0", netip.PrefixFrom(far6, 64)),
		n.Route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), far4),
		n.Route(netip.PrefixFrom(netip.IPv6Unspecified(), 0), far6))
}

func (n *node) nft(ctx context.Context, script string) error {
	cmd := n.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w\n%s", err, out)
	}
	return nil
}

// ordinary removes nstest's limit of one segment at a time from a link.
func ordinary(e nstest.End) error {
	return e.NS.Do(func() error {
		l, err := netlink.LinkByName(e.Name)
		if err != nil {
			return err
		}
		return netlink.LinkSetGSOMaxSegs(l, 65535)
	})
}
