package session

import (
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkConnect is the time from connect to the answer to OPTIONS: without a session
// between, and with one. It does not include what masqd does for a connection.
func BenchmarkConnect(b *testing.B) {
	for _, through := range []string{"direct", "session"} {
		b.Run(through, func(b *testing.B) {
			p := newProxy(b)
			answers := make(chan struct{})
			go func() {
				defer close(answers)
				buf := make([]byte, 1000)
				for {
					c, err := p.target.Accept()
					if err != nil {
						return
					}
					if _, err := c.Read(buf); err == nil {
						_, _ = io.WriteString(c, okAnswer(1))
						_, _ = c.Read(buf) // the end
					}
					_ = c.Close()
				}
			}()
			to := p.target.Addr().String()
			if through == "session" {
				to = p.listener.Addr().String()
			}
			buf := make([]byte, 1000)
			var all []time.Duration
			for b.Loop() {
				began := time.Now()
				c, err := net.Dial("tcp", to)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.WriteString(c, request("OPTIONS", 1, "s"))
				if _, err := c.Read(buf); err != nil {
					b.Fatal(err)
				}
				all = append(all, time.Since(began))
				_ = c.Close()
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "us-median")
			_ = p.target.Close()
			<-answers
		})
	}
}

// BenchmarkInterleaved is the throughput of frames within the connection.
func BenchmarkInterleaved(b *testing.B) {
	p := newProxy(b)
	client, server := p.connect(b)
	frames := []byte(strings.Repeat("$\x00\x05\x00"+strings.Repeat("x", 1280), 50))
	b.SetBytes(int64(len(frames)))
	b.ReportAllocs()
	got := make([]byte, len(frames))
	for b.Loop() {
		if _, err := server.Write(frames); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, got); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory is the memory of 1,000 sessions with two streams each, after their SETUP.
func BenchmarkMemory(b *testing.B) {
	const sessions, maxBytes = 1000, 30 << 20
	for b.Loop() {
		p := newProxy(b)
		before, rss := inUse(), resident(b)
		var all []net.Conn
		for i := range sessions {
			// One attachment for each 50 connections.
			p.node.mu.Lock()
			p.node.owners[loopback] = strconv.Itoa(i / 50)
			p.node.mu.Unlock()
			c, s := p.connect(b)
			all = append(all, c, s)
			for j := range 2 {
				text := setup(j, "RTP/AVP/UDP;unicast;client_port=5000-5001")
				if _, err := io.WriteString(c, text); err != nil {
					b.Fatal(err)
				}
				// The same number of digits in all ports.
				got := make([]byte, len(text)+2)
				if _, err := io.ReadFull(s, got); err != nil {
					b.Fatal(err)
				}
				_, ports, _ := strings.Cut(string(got), "client_port=")
				answer := setupAnswer(j, "s", "RTP/AVP/UDP;unicast;client_port="+strings.TrimSpace(ports)+";server_port=6256-6257")
				if _, err := io.WriteString(s, answer); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, make([]byte, len(answer)-2)); err != nil {
					b.Fatal(err)
				}
			}
		}
		if n := len(p.node.isOpen()); n != 4*sessions {
			b.Fatalf("%d media are open", n)
		}
		after, rssAfter := inUse(), resident(b)
		b.ReportMetric(float64(after-before)/(1<<20), "MB")
		b.ReportMetric(float64(rssAfter-rss)/(1<<20), "MB-rss")
		if after-before > maxBytes {
			b.Errorf("%d bytes", after-before)
		}
		for _, c := range all {
			_ = c.Close()
		}
	}
}

// inUse returns the memory of the heap and of stacks.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)

	return m.HeapInuse + m.StackInuse
}

func resident(b *testing.B) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
