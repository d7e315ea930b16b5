package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestEndpoints: the page at / lists what is served, and each of these is there.
func TestEndpoints(t *testing.T) {
	for _, profile := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- serveHTTP(ctx, l, prometheus.NewRegistry(), func() readiness { return readiness{Ready: true, Reasons: []string{}} }, profile)
		}()
		get := func(path string) (int, string) {
			r, err := http.Get("http://" + l.Addr().String() + path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Body.Close() }()
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return r.StatusCode, string(b)
		}
		code, page := get("/")
		var paths []string
		for _, part := range strings.Split(page, `<a href="`)[1:] {
			path, _, _ := strings.Cut(part, `"`)
			paths = append(paths, path)
			if code, _ := get(path); code != http.StatusOK {
				t.Errorf("%s: %d", path, code)
			}
		}
		want := []string{"/metrics", "/healthz", "/readyz"}
		if profile {
			want = append(want, "/debug/pprof/")
		}
		if code != http.StatusOK || !slices.Equal(paths, want) {
			t.Errorf("%d\n%s", code, page)
		}
		if code, _ := get("/nothing"); code != http.StatusNotFound {
			t.Errorf("/nothing: %d", code)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A missing egress address makes masqd unready only where flows are dropped.
func TestReadyWithMissingEgress(t *testing.T) {
	for _, c := range []struct {
		missing ruleset.MissingEgress
		ready   bool
		reason  string
	}{
		{ruleset.MissingEgress{Dropped: true}, false, "flows are dropped"},
		{ruleset.MissingEgress{Unused: true}, true, "no attachment of the policy uses its family"},
		{ruleset.MissingEgress{}, true, "flows leave with the others"},
	} {
		c.missing.Policy, c.missing.Address = "node-1a2b3c4d", netip.MustParseAddr("2001:db8::7")
		s := reconcile.Stats{LastLook: time.Unix(1, 0), MissingEgress: []ruleset.MissingEgress{c.missing}}
		r := ready(s, reconcile.Node{}, nil)
		if r.Ready != c.ready || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "2001:db8::7; ") || !strings.HasSuffix(r.Reasons[0], c.reason) {
			t.Errorf("%+v: %+v", c.missing, r)
		}
	}
}
