package nft

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// The owner of a table (enum nft_table_attributes and enum nft_table_flags in
// linux/nf_tables.h). Requires Linux 5.12.
const (
	attrTableOwner = 7
	flagTableOwner = 0x2
)

// OwnerError says that a table belongs to another program: the kernel lets no other program
// change it, and deletes it when the program closes its netlink socket.
type OwnerError struct {
	// Table is the table: "inet masq".
	Table string
	// Port is the port ID of the owner's netlink socket.
	Port uint32
	// PID and Process are the owner's process. PID is 0 if it is not found, for example in
	// another PID namespace. Certain is false if it is only inferred from the port ID,
	// which usually is the process ID.
	PID     int
	Process string
	Certain bool
	Err     error // the kernel's error
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("table %s belongs to another program, %s, which made it with the flag owner, and cannot be changed; %s", e.Table, e.Owner(), e.Remedy())
}

// Owner names the program.
func (e *OwnerError) Owner() string {
	process := fmt.Sprintf("process %d (%s)", e.PID, strings.Trim(masq.Quote(e.Process), `"`))
	switch {
	case e.PID == 0:
		return fmt.Sprintf("the program with netlink port %d", e.Port)
	case !e.Certain:
		return "probably " + process
	}
	return process
}

// Remedy says what to do.
func (e *OwnerError) Remedy() string {
	const rename = "have that program use another name for its table, or "
	if e.PID == 0 {
		return rename + "find it in /proc/net/netlink and /proc/PID/fd, and end it"
	}
	return rename + fmt.Sprintf("end it: kill %d", e.PID)
}

func (e *OwnerError) Unwrap() error { return e.Err }

// owner returns the netlink port ID of the program that owns the table, or 0.
func (c *Conn) owner() (port uint32, err error) {
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, c.table)
	b, err := c.get(unix.NFT_MSG_GETTABLE, a)
	if err != nil {
		return 0, err
	}
	f, err := fields(b)
	return ownerOf(f), err
}

func ownerOf(f map[uint16][]byte) uint32 {
	if number(f[unix.NFTA_TABLE_FLAGS])&flagTableOwner == 0 {
		return 0
	}
	return number(f[attrTableOwner])
}

// explainOwner returns an OwnerError if the table's owner causes an error.
func (c *Conn) explainOwner(err error) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	port, failed := c.owner()
	if failed != nil || port == 0 { // the process may lack CAP_NET_ADMIN
		return err
	}
	return ownerError(c.table, port, err)
}

// Owner returns the program that owns the table, or nil.
func (c *Conn) Owner() (*OwnerError, error) {
	port, err := c.owner()
	if errors.Is(err, unix.ENOENT) || err == nil && port == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err)
	}
	return ownerError(c.table, port, nil), nil
}

func ownerError(table string, port uint32, err error) *OwnerError {
	e := &OwnerError{Table: ruleset.Family + " " + table, Port: port, Err: err}
	if e.PID = holderOf(socketOf(port), port); e.PID != 0 {
		e.Certain = true
	} else if _, err := os.Stat(fmt.Sprintf("/proc/%d", port)); err == nil {
		e.PID = int(port)
	}
	if e.PID != 0 {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", e.PID))
		e.Process = strings.TrimSuffix(string(name), "\n")
	}
	return e
}

// socketOf returns the inode of the netfilter socket with a port ID in this thread's
// network namespace, or "".
func socketOf(port uint32) string {
	b, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // sk, protocol, port, groups, ... inode
		if len(f) >= 10 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] == strconv.FormatUint(uint64(port), 10) {
			return f[len(f)-1]
		}
	}
	return ""
}

// holderOf returns the process that has a socket open, or 0 if none is found: finding it
// requires the permission to trace the process. It searches the likely process first.
func holderOf(inode string, likely uint32) int {
	if inode == "" {
		return 0
	}
	for _, of := range []string{strconv.FormatUint(uint64(likely), 10), "[0-9]*"} {
		paths, _ := filepath.Glob("/proc/" + of + "/fd/*")
		for _, path := range paths {
			if to, err := os.Readlink(path); err == nil && to == "socket:["+inode+"]" {
				pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
				return pid
			}
		}
	}
	return 0
}
