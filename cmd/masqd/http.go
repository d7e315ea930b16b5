package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// readiness is the answer of /readyz.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"` // why not, or what needs attention
	// Losses are recent: masq-cni inspect cannot know of them.
	Losses report.Losses `json:"losses,omitzero"`
}

// ready joins them. Source ports that run out are a reason to look, not one to be taken
// out of service.
func ready(s reconcile.Stats, n reconcile.Node, shortage []string) readiness {
	r := serviceable(s, n)
	for _, m := range s.MissingEgress {
		switch {
		case m.Dropped:
		case m.Unused:
			r.Reasons = append(r.Reasons, missingEgress(m)+"; no attachment of the policy uses its family")
		default:
			r.Reasons = append(r.Reasons, missingEgress(m)+"; flows leave with the others")
		}
	}
	r.Reasons = append(r.Reasons, shortage...)
	return r
}

func missingEgress(m ruleset.MissingEgress) string {
	return "policy " + m.Policy + ": the node does not have the egress address " + m.Address.String()
}

func serviceable(s reconcile.Stats, n reconcile.Node) readiness {
	r := readiness{Reasons: []string{}}
	if s.LastLook.IsZero() {
		r.Reasons = append(r.Reasons, "no sync has succeeded yet")
	}
	if s.Problem != "" {
		r.Reasons = append(r.Reasons, s.Problem)
	}
	for _, m := range s.MissingEgress {
		if m.Dropped {
			r.Reasons = append(r.Reasons, missingEgress(m)+"; no other of its family is left: flows are dropped")
		}
	}
	// A faulty configuration with a good one before it is a reason to look, not one
	// to be taken out of service.
	if n.Fault != "" {
		r.Reasons = append(r.Reasons, "configuration: "+n.Fault)
		if !n.Read.IsZero() {
			r.Ready = len(r.Reasons) == 1
			return r
		}
	}
	r.Ready = len(r.Reasons) == 0
	return r
}

// serveHTTP serves metrics and health until the context ends.
func serveHTTP(ctx context.Context, l net.Listener, registry *prometheus.Registry, state func() readiness, profile bool) error {
	mux := http.NewServeMux()
	var endpoints []endpoint
	handle := func(path, what string, h http.HandlerFunc) {
		endpoints = append(endpoints, endpoint{path, what})
		mux.HandleFunc("GET "+path, h)
	}
	handle("/metrics", "metrics for Prometheus", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP)
	handle("/healthz", "200 while the process serves", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	handle("/readyz", "whether masqd is ready, and what needs attention, as JSON", func(w http.ResponseWriter, _ *http.Request) {
		r := state()
		w.Header().Set("Content-Type", "application/json")
		if !r.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(r)
	})
	if profile {
		endpoints = append(endpoints, endpoint{"/debug/pprof/", "profiles of the process"})
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	page := index(endpoints)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// endpoint is a path that the HTTP server serves, and the description of its content.
type endpoint struct{ path, what string }

// index is the page that lists the endpoints.
func index(all []endpoint) []byte {
	var b bytes.Buffer
	b.WriteString("<!doctype html>\n<title>masqd</title>\n<h1>masqd</h1>\n<ul>\n")
	for _, e := range all {
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a>: %s</li>\n", e.path, e.path, e.what)
	}
	b.WriteString("</ul>\n")
	return b.Bytes()
}
