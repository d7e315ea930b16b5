package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/test/assert"
)

// sender begins flows: each packet has another pair of ports.
type sender struct {
	p    *pod
	conn *net.UDPConn
	port uint16 // the last destination port
}

// begins begins n flows to the server.
func (s *sender) begins(n int) {
	s.p.w.t.Helper()
	for range n {
		if s.port++; s.port == 0 || s.conn == nil { // this source port has been used with all destination ports
			if s.conn != nil {
				assert.NoError(s.p.w.t, s.conn.Close())
			}
			assert.NoError(s.p.w.t, s.p.Do(func() (err error) {
				s.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: s.p.addr(s.p.w.V4.Server).AsSlice()})
				return err
			}))
			s.port = 1024
		}
		assert.Must(s.conn.WriteToUDPAddrPort([]byte("x"), at(s.p.w.V4.Server, s.port)))(s.p.w.t)
	}
}

// counts returns how many records masqd reports as written and as lost.
func (p *past) counts() (written, lost int) {
	p.t.Helper()
	for name, n := range map[string]*int{"masq_nat_log_records_total": &written, "masq_nat_log_lost_total": &lost} {
		*n, _ = strconv.Atoi(p.d.metric(name)) // 0 while masqd does not answer
	}
	return written, lost
}

// readable returns how many records a reader of the log finds, and how many are missing
// according to its gaps.
func (p *past) readable() (found, missing int) {
	p.t.Helper()
	answer, err := natlog.Find(p.t.Context(), p.log, natlog.Query{Addr: at(p.V4.Server, 1)})
	if err != nil {
		p.t.Logf("a reader of the log: %v", err)
		return 0, 0
	}
	for _, g := range answer.Gaps {
		missing += int(g.Lost)
	}
	// A gap is a numbered record too.
	return p.numberOfRecords() - len(answer.Gaps), missing
}

// numberOfRecords returns the number after the log's last record. The format is in
// the documentation of package natlog.
func (p *past) numberOfRecords() (next int) {
	p.t.Helper()
	for _, file := range assert.Must(filepath.Glob(p.log + "/*-*.natlog"))(p.t) {
		next = max(next, lastNumber(assert.Must(os.ReadFile(file))(p.t)))
	}
	for _, file := range assert.Must(filepath.Glob(p.log + "/*.tail"))(p.t) {
		next = max(next, lastNumber(assert.Must(os.ReadFile(file))(p.t)))
	}
	return next
}

func lastNumber(file []byte) (next int) {
	const fileHeader, blockHeader, records = 16, 64, 1
	for b := file[min(len(file), fileHeader):]; len(b) >= blockHeader && b[6] == records; {
		bytes := int(binary.LittleEndian.Uint32(b[8:]))
		next = int(binary.LittleEndian.Uint64(b[24:])) + int(binary.LittleEndian.Uint32(b[16:]))
		b = b[min(bytes, len(b)):]
	}
	return next
}

// TestNATLogFillsTheDisk fills the disk with records of flows until masqd's queue is full
// too. masqd still repairs rules. After the disk is enlarged, records are written again,
// and the log's gaps count exactly the missing records.
func TestNATLogFillsTheDisk(t *testing.T) {
	p := newSmallDisk(t)
	c := p.attachNamed("ns", "c", p.masq())
	before, began := p.talks(c)
	if out := p.tells(before, began, "ns/c"); strings.Contains(out, "missing") {
		t.Errorf("before anything is missing:\n%s", out)
	}

	flows := &sender{p: c}
	defer func() { assert.NoError(t, flows.conn.Close()) }()
	// lose begins flows and waits until masqd has written or lost their records. It
	// returns how many were written.
	lose := func(n int) int {
		writtenBefore, lostBefore := p.counts()
		flows.begins(n)
		p.nodeRun("conntrack", "-D", "-p", "udp") // the end of a flow makes a record too
		var written, lost int
		until(t, "masqd has received the flows", func() bool {
			written, lost = p.counts()
			return written+lost >= writtenBefore+lostBefore+2*n
		})
		return written - writtenBefore
	}
	for written := 1; written > 0; {
		written = lose(2000)
	}
	code, ready := p.d.get("/readyz")
	if code != 200 || !strings.Contains(ready, "NAT log: ") || !strings.Contains(ready, "/nat-log/") || !strings.Contains(ready, "no space left on device") {
		t.Errorf("readyz: %d %s", code, ready)
	}
	for _, change := range []string{"flush ruleset", fmt.Sprintf("delete element inet masq policy4 { %s }", c.addr(p.V4.Server))} {
		p.nft("%s", change)
		until(t, "the rules are restored", func() bool { return p.command(p.Node, "inspect", "drift").Run() == nil })
	}
	unwritten, then := p.talks(c)
	if n := lose(10); n > 0 { // records are missing before and after
		t.Errorf("%d records are written to a full disk", n)
	}
	if out, exit := p.was(before, began); exit != 0 || !strings.Contains(out, "\nns/c ") {
		t.Errorf("what was written cannot be read: %d\n%s", exit, out)
	}

	p.nodeRun("nsenter", "--mount", "--target", fmt.Sprint(p.d.Process.Pid), "mount", "-o", "remount,size=64m", p.dir+"/nat-log")
	until(t, "masqd can write again", func() bool {
		_, ready := p.d.get("/readyz")
		return ready != "" && !strings.Contains(ready, "NAT log") && p.d.metric("masq_nat_log_stopped") == "0"
	})
	after, _ := p.talks(c)
	until(t, "the log has a flow that began afterwards", func() bool {
		out, exit := p.was(after, time.Now())
		return exit == 0 && strings.Contains(out, "\nns/c ")
	})
	p.tells(before, began, "ns/c")
	// A flow of the sender, which is UDP, can have had the same port of the node.
	if out, exit := p.whoText("--nat-log", p.log, "--at", then.Format(time.RFC3339Nano), unwritten.String()+"/tcp"); exit != 1 || !strings.Contains(out, " records are missing\n") {
		t.Errorf("a flow whose record was lost: %d\n%s", exit, out)
	}
	until(t, "a reader finds what masqd has counted", func() bool {
		written, lost := p.counts()
		found, missing := p.readable()
		return written > 0 && lost > 0 && found == written && missing == lost
	})
	if text := string(assert.Must(os.ReadFile(p.d.log))(t)); strings.Contains(text, "the NAT log has a gap") {
		t.Error("the kernel dropped notifications: the missing records do not prove a full queue")
	}
	p.d.end()
}
