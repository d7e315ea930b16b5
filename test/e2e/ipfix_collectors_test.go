package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// nfcapd is an IPFIX collector over UDP at the far end.
type nfcapd struct {
	*nstest.Command
	w   *world
	dir string
	log strings.Builder
}

func (w *world) nfcapd(name string) *nfcapd {
	w.t.Helper()
	c := &nfcapd{w: w, dir: filepath.Join(w.dir, name)}
	assert.NoError(w.t, os.Mkdir(c.dir, 0o700))
	c.Command = w.Server.Command(context.WithoutCancel(w.t.Context()), "nfcapd", "-p", strconv.Itoa(collectorPort), "-w", c.dir)
	c.Stdout, c.Stderr = &c.log, &c.log
	w.background(c.Command)
	w.listening(w.Server, "udp", collectorPort)
	return c
}

// natRecord is a record in the output of nfdump.
type natRecord struct {
	Proto   int    `json:"proto"`
	Src     string `json:"src4_addr"`
	SrcPort int    `json:"src_port"`
	Dst     string `json:"dst4_addr"`
	DstPort int    `json:"dst_port"`
	PostSrc string `json:"src4_xlt_ip"`
	PostDst string `json:"dst4_xlt_ip"`
	// nfdump prints the translated ports as strings.
	PostSrcPort string `json:"src_xlt_port"`
	PostDstPort string `json:"dst_xlt_port"`
	Src6        string `json:"src6_addr"`
	Dst6        string `json:"dst6_addr"`
	ICMPType    int    `json:"icmp_type"`
	Event       string `json:"nat_event"`
	At          string `json:"t_event"`
}

// end stops the collector and returns the collected records.
func (c *nfcapd) end() (out []natRecord) {
	t := c.w.t
	t.Helper()
	assert.NoError(t, c.Process.Signal(syscall.SIGTERM))
	assert.NoError(t, c.Wait())
	// nfcapd reports gaps in the sequence numbers.
	sums := regexp.MustCompile(`Sequence Errors: (\d+), Bad Packets: (\d+)`).FindStringSubmatch(c.log.String())
	if sums == nil || sums[1] != "0" || sums[2] != "0" {
		t.Errorf("nfcapd said:\n%s", c.log.String())
	}
	files := assert.Must(filepath.Glob(filepath.Join(c.dir, "nfcapd.2*")))(t)
	for _, f := range files {
		b := assert.Must(exec.CommandContext(soon(t), "nfdump", "-r", f, "-o", "json").Output())(t)
		var all []natRecord
		if strings.Contains(string(b), "No matching flows") {
			continue
		}
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatalf("%v in what nfdump prints:\n%s", err, b)
		}
		out = append(out, all...)
	}
	return out
}

// stream is a collector over TCP at the far end. It stores what arrives, and ipfixDump of
// libfixbuf reads it.
type stream struct {
	*nstest.Command
	w    *world
	file string
}

func (w *world) stream(name string) *stream {
	w.t.Helper()
	s := &stream{w: w, file: filepath.Join(w.dir, name)}
	s.Command = w.Server.Command(context.WithoutCancel(w.t.Context()), "socat", "-u", fmt.Sprintf("TCP-LISTEN:%d,reuseaddr", collectorPort), "CREATE:"+s.file)
	w.background(s.Command)
	w.listening(w.Server, "tcp", collectorPort)
	return s
}

// element matches a line of ipfixDump: "(230)   natEvent : 4", with (S) for a scope field,
// and "(len: 4) 0x706f6473" for a value of variable length.
var element = regexp.MustCompile(`^\s*\((\d+)\) (?:\(S\))?\s*\w+ : (?:\(len: \d+\) (?:0x)?)?(.*)$`)

// records returns the records of events and of statistics.
func (s *stream) records() (events, told []map[string]string) {
	t := s.w.t
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ipfixDump", "--hexdump=100", "--in", s.file).CombinedOutput()
	if err != nil {
		t.Fatalf("ipfixDump: %v\n%s", err, out[max(0, len(out)-2000):])
	}
	var record map[string]string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "--- data record") {
			record = map[string]string{}
			events = append(events, record)
		} else if m := element.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil && record != nil {
			record[m[1]] = m[2]
		}
	}
	statistics := func(r map[string]string) bool { _, ok := r["166"]; return ok }
	for _, r := range events {
		if statistics(r) {
			told = append(told, r)
		}
	}
	return slices.DeleteFunc(events, statistics), told
}
