package veth

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// setting is a sysctl of one interface that netlink has no request for.
type setting struct {
	family string // "ipv4" or "ipv6"
	device string // an interface, or "all"
	name   string
	value  int
}

// String returns the setting as sysctl(8) writes it.
func (s setting) String() string {
	return fmt.Sprintf("%s=%d", s.key(), s.value)
}

// key returns the setting's name for sysctl(8).
func (s setting) key() string { return "net." + s.family + ".conf." + s.device + "." + s.name }

func (s setting) path() string {
	return filepath.Join("/proc/sys/net", s.family, "conf", s.device, s.name)
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
