package doctor

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// snmp are counters of the kernel since the network namespace was made, by names such as
// "Ip.ReasmFails" and "Ip6.ReasmFails".
type snmp map[string]uint64

// The files that have the counters. /proc/net belongs to the first thread of the process, which may
// be in another network namespace.
const (
	snmp4Path = "/proc/thread-self/net/snmp"
	snmp6Path = "/proc/thread-self/net/snmp6"
)

// snmp reads the node's counters.
func (n *Node) snmp() (snmp, error) {
	return read(n, "snmp", func() (snmp, error) {
		four, err := os.ReadFile(snmp4Path)
		if err != nil {
			return nil, err
		}
		six, err := os.ReadFile(snmp6Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			return nil, err
		}
		out := snmp{}
		out.parse4(string(four))
		out.parse6(string(six))
		return out, nil
	})
}

// parse4 reads /proc/net/snmp. Each protocol has a line with names and a line with values.
func (x snmp) parse4(text string) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(names) != len(fields) || names[0] != fields[0] {
			names = fields
			continue
		}
		protocol := strings.TrimSuffix(names[0], ":")
		for i, name := range names[1:] {
			if v, err := strconv.ParseUint(fields[i+1], 10, 64); err == nil {
				x[protocol+"."+name] = v
			}
		}
		names = nil
	}
}

// parse6 reads /proc/net/snmp6: a name and a value in each line, as "Ip6ReasmFails 0".
func (x snmp) parse6(text string) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		protocol, counter, found := strings.Cut(name, "6")
		v, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if found && err == nil {
			x[protocol+"6."+counter] = v
		}
	}
}

// evidence returns counters as evidence.
func (x snmp) evidence(names ...string) (out []Evidence) {
	for _, name := range names {
		out = append(out, Evidence{"/proc/net/" + snmpFile(name) + " " + name, strconv.FormatUint(x[name], 10)})
	}
	return out
}

func snmpFile(name string) string {
	if protocol, _, _ := strings.Cut(name, "."); strings.HasSuffix(protocol, "6") {
		return "snmp6"
	}
	return "snmp"
}
