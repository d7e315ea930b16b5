package endpoint

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/masq-cni/masq-cni/test/assert"
)

// running is a Server on 127.0.0.1 that ends when its test ends.
type running struct {
	*Server
	t      *testing.T
	at     string
	health string
}

// start runs a server with a limit of connections for each of two addresses. The last of the
// limits, if any, replaces the default timeouts.
func start(t *testing.T, o Options, connections int, limits ...timeouts) *running {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Readiness == nil {
		o.Readiness = func() (any, bool) { return map[string]bool{"ready": true}, true }
	}
	o.Log = slog.New(slog.DiscardHandler)
	to := Listeners{All: []net.Listener{listen()}, Health: listen()}
	s := New(o, to, connections)
	for _, l := range limits {
		s.timeouts = l
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &running{s, t, to.All[0].Addr().String(), to.Health.Addr().String()}
}

// open connects and sends text. The connection stays open until the test ends.
func (r *running) open(text string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// get requests a path on a new connection.
func get(at, path string) (code int, body string, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + at + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

// isClosed waits until the server has closed a connection.
func isClosed(c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return err
	}
	return nil
}

const request = "GET /metrics HTTP/1.1\r\nHost: masqd\r\n\r\n"

// TestEndpoints checks that the page at / lists the paths, and that each path is served. The
// address for probes has neither metrics nor profiles.
func TestEndpoints(t *testing.T) {
	for _, profile := range []bool{false, true} {
		s := start(t, Options{Profile: profile}, MaxConnections)
		health := []string{"/healthz", "/readyz"}
		all := slices.Concat([]string{"/metrics"}, health)
		if profile {
			all = append(all, "/debug/pprof/")
		}
		for at, want := range map[string][]string{s.at: all, s.health: health} {
			code, page, err := get(at, "/")
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, part := range strings.Split(page, `<a href="`)[1:] {
				path, _, _ := strings.Cut(part, `"`)
				paths = append(paths, path)
				if code, _, err := get(at, path); code != http.StatusOK {
					t.Errorf("%s: %d, %v", path, code, err)
				}
			}
			if code != http.StatusOK || !slices.Equal(paths, want) {
				t.Errorf("GET /: %d\n%s", code, page)
			}
			if code, _, err := get(at, "/nothing"); code != http.StatusNotFound {
				t.Errorf("/nothing: %d, %v", code, err)
			}
		}
		for _, path := range []string{"/metrics", "/debug/pprof/"} {
			if code, _, err := get(s.health, path); code != http.StatusNotFound {
				t.Errorf("the address for probes answers %s with %d, %v", path, code, err)
			}
		}
	}
}

// TestNotReady checks that /readyz is 503 with the reasons.
func TestNotReady(t *testing.T) {
	s := start(t, Options{Readiness: func() (any, bool) { return []string{"reason"}, false }}, MaxConnections)
	if code, body, err := get(s.at, "/readyz"); code != http.StatusServiceUnavailable || body != "[\"reason\"]\n" {
		t.Errorf("GET /readyz: %d %q %v", code, body, err)
	}
}

// TestTimeouts checks that the server closes the connection of a client that sends nothing,
// half a request or no further request, or that does not read its answer.
func TestTimeouts(t *testing.T) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(longMetric{}); err != nil {
		t.Fatal(err)
	}
	const short = 20 * time.Millisecond
	for name, c := range map[string]struct {
		timeouts timeouts
		text     string
	}{
		"silent":         {timeouts{header: short}, ""},
		"half a request": {timeouts{header: short}, "GET /metrics HTTP/1.1\r\nHo"},
		"missing body":   {timeouts{read: short}, "GET /metrics HTTP/1.1\r\nHost: masqd\r\nContent-Length: 9\r\n\r\n"},
		"idle":           {timeouts{idle: short}, "GET /healthz HTTP/1.1\r\nHost: masqd\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{}, MaxConnections, c.timeouts)
			if err := isClosed(s.open(c.text)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("unread answer", func(t *testing.T) {
		s := start(t, Options{Registry: registry}, MaxConnections, timeouts{write: short})
		_, _ = s.open(request).Read(make([]byte, 1)) // returns after the server has accepted the connection
		assert.Until(t, "the connection is closed", func() bool { return s.connections() == 0 })
	})
}

// longMetric is a metric whose text is longer than the buffers of two sockets.
type longMetric struct{}

func (longMetric) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(longMetric{}, ch)
}

func (longMetric) Collect(ch chan<- prometheus.Metric) {
	d := prometheus.NewDesc("long", strings.Repeat("x", 16<<20), nil, nil)
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, 1)
}

// connections returns the number of open connections.
func (r *running) connections() int { return int(r.stats.open.Load()) }
