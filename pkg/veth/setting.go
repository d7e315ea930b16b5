package veth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// setting is a sysctl that netlink has no request for.
type setting struct {
	family string // "ipv4" or "ipv6"
	device string // an interface, or "all"; empty for a setting of the network namespace
	name   string
	value  int
}

// String returns the setting as sysctl(8) writes it.
func (s setting) String() string {
	return fmt.Sprintf("%s=%d", s.key(), s.value)
}

// key returns the setting's name for sysctl(8).
func (s setting) key() string {
	if s.device == "" {
		return "net." + s.family + "." + s.name
	}
	return "net." + s.family + ".conf." + s.device + "." + s.name
}

func (s setting) path() string {
	if s.device == "" {
		return filepath.Join("/proc/sys/net", s.family, s.name)
	}
	return filepath.Join("/proc/sys/net", s.family, "conf", s.device, s.name)
}

// mtuProbing lets TCP, over IPv4 and IPv6, find the segment size that a path can carry if
// packets are lost without an ICMP error (RFC 4821). With 1, the kernel begins to search after
// some retransmissions (tcp_mtu_probing in net/ipv4/tcp_timer.c). With 2 it searches from the
// start; enableMTUProbing keeps that.
var mtuProbing = setting{family: "ipv4", name: "tcp_mtu_probing", value: 1}

// read returns the value of a setting in a namespace.
func (n namespace) read(s setting) (value int, err error) {
	err = n.within(func() error {
		b, err := os.ReadFile(s.path())
		if err == nil {
			value, err = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", s.key(), err)
		}
		return nil
	})
	return value, err
}

// enableMTUProbing enables probing in a container's network namespace.
func enableMTUProbing(ns namespace) error {
	if value, err := ns.read(mtuProbing); err != nil || value != 0 {
		return err
	}
	return ns.apply([]setting{mtuProbing})
}

func (s setting) write() error {
	fd, err := unix.Open(s.path(), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(strconv.Itoa(s.value)))
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", s, err)
	}
	return nil
}

// apply writes settings in a namespace. /proc/sys/net shows the namespace of the thread
// that opens a file there.
func (n namespace) apply(settings []setting) error {
	if len(settings) == 0 {
		return nil
	}
	return n.within(func() error {
		for _, s := range settings {
			if err := s.write(); err != nil {
				return err
			}
		}
		return nil
	})
}
