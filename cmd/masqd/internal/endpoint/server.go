package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/exporter-toolkit/web"
)

// timeouts are the limits of a connection.
type timeouts struct {
	header time.Duration // to send the header of a request, or for the TLS handshake
	read   time.Duration // to send a whole request
	write  time.Duration // to render the answer and to receive it
	idle   time.Duration // until the next request
}

// defaultTimeouts let a Prometheus that scrapes each half minute keep its connection. By
// default it waits 10 s for an answer.
var defaultTimeouts = timeouts{header: 5 * time.Second, read: 10 * time.Second, write: 10 * time.Second, idle: time.Minute}

const (
	// maxHeaderBytes is the maximum size of the header of a request. net/http adds 4 KiB.
	maxHeaderBytes = 8 << 10
	// maxStreams is how many concurrent requests one HTTP/2 connection may have.
	maxStreams = 4
)

// Options are the content and the settings of a Server.
type Options struct {
	Registry prometheus.Gatherer
	// Readiness returns the answer of /readyz, which is encoded as JSON. The status is 200 if
	// ready, else 503.
	Readiness func() (answer any, ready bool)
	// Profile adds /debug/pprof.
	Profile bool
	// WebConfig is the file with the web configuration; empty: no TLS and no passwords.
	WebConfig string
	Log       *slog.Logger
}

// Server serves the HTTP endpoint of masqd.
type Server struct {
	Options
	timeouts           timeouts
	stats              stats
	metrics, readiness *pages
	served             []served
}

// served is a listener with its handler.
type served struct {
	*listener
	handler http.Handler
	// webConfig is empty for a listener without TLS and passwords.
	webConfig string
}

// Connections returns the number of open connections, and how many were closed to make room
// for others.
func (s *Server) Connections() (open, closed int64) {
	return s.stats.open.Load(), s.stats.evicted.Load()
}

// Listeners are the listeners of a Server.
type Listeners struct {
	// All serve all paths. The web configuration applies to TCP; the mode of a Unix socket
	// decides which users can connect.
	All []net.Listener
	// Health serves /healthz and /readyz without TLS and passwords; nil: none.
	Health net.Listener
}

// Len returns the number of listeners.
func (l *Listeners) Len() int {
	if l.Health != nil {
		return len(l.All) + 1
	}
	return len(l.All)
}

// Close closes all listeners.
func (l *Listeners) Close() error {
	var errs []error
	for _, x := range l.All {
		errs = append(errs, x.Close())
	}
	if l.Health != nil {
		errs = append(errs, l.Health.Close())
	}
	return errors.Join(errs...)
}

// CheckWebConfig validates a web configuration.
func CheckWebConfig(file string) error { return web.Validate(file) }

// New returns a server. Each listener has at most this number of connections.
func New(o Options, listeners Listeners, connections int) *Server {
	s := &Server{Options: o, timeouts: defaultTimeouts}
	s.metrics = newPages(func() *page { return metricsPage(s.Registry) })
	s.readiness = newPages(s.readinessPage)
	all, health := s.routes(true), s.routes(false)
	for _, l := range listeners.All {
		x := served{listener: limit(l, connections, &s.stats), handler: all}
		if _, isTCP := l.Addr().(*net.TCPAddr); isTCP {
			x.webConfig = o.WebConfig
		}
		s.served = append(s.served, x)
	}
	if listeners.Health != nil {
		s.served = append(s.served, served{listener: limit(listeners.Health, connections, &s.stats), handler: health})
	}
	return s
}

// Serve serves until the context ends.
func (s *Server) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, len(s.served))
	for _, l := range s.served {
		go func() {
			err := s.serve(ctx, l)
			stop() // ends the others
			ended <- err
		}()
	}
	var errs []error
	for range s.served {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

func (s *Server) serve(ctx context.Context, l served) error {
	server := &http.Server{
		Handler: l.handler, ConnContext: withConn, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: s.timeouts.header, ReadTimeout: s.timeouts.read, WriteTimeout: s.timeouts.write, IdleTimeout: s.timeouts.idle,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		// Any client can cause these errors, so they are not logged by default.
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	var err error
	if l.webConfig != "" {
		err = web.Serve(l, server, &web.FlagConfig{WebConfigFile: &l.webConfig}, s.Log)
	} else {
		err = server.Serve(l)
	}
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) routes(all bool) http.Handler {
	mux := http.NewServeMux()
	var endpoints []route
	handle := func(path, description string, h http.HandlerFunc) {
		endpoints = append(endpoints, route{path, description})
		mux.HandleFunc("GET "+path, h)
	}
	if all {
		handle("/metrics", "metrics for Prometheus", s.metrics.ServeHTTP)
	}
	handle("/healthz", "200 while the process runs", func(w http.ResponseWriter, r *http.Request) {
		(&page{code: http.StatusOK, contentType: "text/plain; charset=utf-8", body: []byte("ok\n")}).write(w, r)
	})
	handle("/readyz", "readiness of masqd, and what needs attention, as JSON", s.readiness.ServeHTTP)
	if all && s.Profile {
		endpoints = append(endpoints, route{"/debug/pprof/", "profiles of the process"})
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	list := &page{code: http.StatusOK, contentType: "text/html; charset=utf-8", body: index(endpoints)}
	mux.HandleFunc("GET /{$}", list.write)
	return mux
}

func (s *Server) readinessPage() *page {
	answer, ready := s.Readiness()
	body, err := json.Marshal(answer)
	if err != nil {
		return &page{code: http.StatusInternalServerError, contentType: "text/plain; charset=utf-8", body: []byte(err.Error() + "\n")}
	}
	p := &page{code: http.StatusOK, contentType: "application/json", body: append(body, '\n')}
	if !ready {
		p.code = http.StatusServiceUnavailable
	}
	return p
}

// route is a path, and the description of its content.
type route struct{ path, description string }

// index returns the page that lists the routes.
func index(all []route) []byte {
	var b bytes.Buffer
	b.WriteString("<!doctype html>\n<title>masqd</title>\n<h1>masqd</h1>\n<ul>\n")
	for _, e := range all {
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a>: %s</li>\n", e.path, e.path, e.description)
	}
	b.WriteString("</ul>\n")
	return b.Bytes()
}
