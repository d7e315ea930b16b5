package probe

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Counters are counters of a namespace by their name, such as "IpReversePathFilter".
type Counters map[string]uint64

// lossCounters are the counters of lost packets, by the file that has them.
var lossCounters = map[string][]string{
	"snmp": {
		"Ip.InHdrErrors", "Ip.InAddrErrors", "Ip.InUnknownProtos", "Ip.InDiscards", "Ip.OutDiscards", "Ip.OutNoRoutes",
		"Ip.ReasmFails", "Ip.FragFails", "Tcp.RetransSegs", "Tcp.InErrs", "Udp.NoPorts", "Udp.InErrors", "Udp.RcvbufErrors",
	},
	"netstat": {
		"IpExt.InNoRoutes", "IpExt.InTruncatedPkts", "TcpExt.IPReversePathFilter", "TcpExt.ListenDrops",
		"TcpExt.TCPMTUPFail", "TcpExt.TCPSynRetrans", "TcpExt.TCPTimeouts",
	},
	"snmp6": {
		"Ip6InHdrErrors", "Ip6InTooBigErrors", "Ip6InNoRoutes", "Ip6InAddrErrors", "Ip6InTruncatedPkts", "Ip6InDiscards",
		"Ip6OutDiscards", "Ip6OutNoRoutes", "Ip6FragFails", "Ip6ReasmFails",
	},
}

// counterFiles are the files of counters below /proc/net.
var counterFiles = []struct {
	name string
	read func(text []byte, add func(name string, v uint64))
}{
	{"snmp", pairs},
	{"netstat", pairs},
	{"snmp6", lines},
	{"dev", devices},
	{"stat/arp_cache", neighbors("arp")},
	{"stat/ndisc_cache", neighbors("ndisc")},
}

// ReadCounters reads the counters of lost packets of the calling thread's network namespace:
// of IP, of neighbors, and the drops and errors of each interface. A file that the kernel does
// not have is skipped.
func ReadCounters() (Counters, error) {
	out := Counters{}
	for _, f := range counterFiles {
		// /proc/net is the namespace of the process's first thread.
		b, err := os.ReadFile("/proc/thread-self/net/" + f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		kept, selected := lossCounters[f.name]
		f.read(b, func(name string, v uint64) {
			if !selected || slices.Contains(kept, name) {
				out[name] += v
			}
		})
	}
	return out, nil
}

// pairs reads lines in pairs: "Ip: InReceives InHdrErrors", "Ip: 5 0".
func pairs(b []byte, add func(string, uint64)) {
	rows := bytes.Split(b, []byte("\n"))
	for i := 0; i+1 < len(rows); i += 2 {
		names, values := strings.Fields(string(rows[i])), strings.Fields(string(rows[i+1]))
		for j := 1; j < len(names) && j < len(values); j++ {
			if v, err := strconv.ParseUint(values[j], 10, 64); err == nil {
				add(strings.TrimSuffix(names[0], ":")+"."+names[j], v)
			}
		}
	}
}

// lines reads "Ip6InDiscards 0".
func lines(b []byte, add func(string, uint64)) {
	for row := range strings.Lines(string(b)) {
		if f := strings.Fields(row); len(f) == 2 {
			if v, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				add(f[0], v)
			}
		}
	}
}

// devices reads the packets, errors and drops of /proc/net/dev.
func devices(b []byte, add func(string, uint64)) {
	for row := range strings.Lines(string(b)) {
		name, rest, ok := strings.Cut(row, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 12 {
			continue
		}
		for i, what := range map[int]string{1: "rx_packets", 2: "rx_errors", 3: "rx_dropped", 9: "tx_packets", 10: "tx_errors", 11: "tx_dropped"} {
			if v, err := strconv.ParseUint(f[i], 10, 64); err == nil {
				add(strings.TrimSpace(name)+"."+what, v)
			}
		}
	}
}

// neighbors reads the failures of a neighbor table: a row of names, and a row of hexadecimal
// numbers for each CPU.
func neighbors(table string) func([]byte, func(string, uint64)) {
	return func(b []byte, add func(string, uint64)) {
		rows := strings.Split(string(b), "\n")
		names := strings.Fields(rows[0])
		for _, row := range rows[1:] {
			for i, value := range strings.Fields(row) {
				if i < len(names) && slices.Contains([]string{"res_failed", "unresolved_discards", "table_fulls"}, names[i]) {
					if v, err := strconv.ParseUint(value, 16, 64); err == nil {
						add(table+"."+names[i], v)
					}
				}
			}
		}
	}
}

// Since returns the counters that have grown, and by how much.
func (c Counters) Since(before Counters) Counters {
	out := Counters{}
	for name, v := range c {
		if v > before[name] {
			out[name] = v - before[name]
		}
	}
	return out
}

// Losses returns the names of the counters of losses, sorted. The counters of packets that an
// interface has sent and received are not among them.
func (c Counters) Losses() []string {
	var names []string
	for name := range c {
		if !strings.HasSuffix(name, "_packets") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
