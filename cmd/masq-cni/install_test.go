package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// prepared is what comes of flags, with a plugin that is there.
func prepared(t *testing.T, args ...string) (out string) {
	t.Helper()
	plugin := filepath.Join(t.TempDir(), "masq")
	if err := os.WriteFile(plugin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	all := append([]string{"install", "--ready-url", "", "--bin-dir", t.TempDir(), "--conf-dir", t.TempDir(), "--plugin", plugin}, args...)
	if code := run(all, io.Discard, &b); code != 1 {
		t.Errorf("%v: exit code %d", args, code)
	}
	return b.String()
}

func TestInstallFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--mode", "chained"}, []string{`--mode "chained" is not known; give chain or network`}},
		{[]string{"--mode", "network"}, []string{"give --pod-cidr, or --node-name"}},
		{[]string{"--mode", "network", "--pod-cidr", "10.0.0.0/24", "--node-name", "n"}, []string{"give one of them"}},
		{[]string{"--pod-cidr", "10.0.0.0/24"}, []string{"are for --mode network"}},
		{[]string{"--mode", "network", "--pod-cidr", "10.0.0.1/24,x"}, []string{`--pod-cidr: "10.0.0.1/24"`, `--pod-cidr: "x"`}},
		{[]string{"--bin-dir", "", "--conf-dir", ""}, []string{"--bin-dir is empty", "--conf-dir is empty"}},
		{[]string{"--ready-url", "localhost:9468"}, []string{`--ready-url "localhost:9468" is not a URL`}},
		{[]string{"--plugin", "/nowhere"}, []string{`--plugin "/nowhere" is not there`}},
		{[]string{"--conf-name", "../a.conflist"}, []string{`--conf-name "../a.conflist"`}},
		{[]string{"--conf-name", "10-masq.conf"}, []string{`--conf-name "10-masq.conf"`}},
		{[]string{"--plugin-config", `{"toPorts": 5, "mtu": 7}`}, []string{"--plugin-config:", "toPorts: ", "mtu: 7"}},
		{[]string{"--plugin-config", `{"ipam": {}}`}, []string{`--plugin-config: "ipam"`}},
		{[]string{"--plugin-config", `{`}, []string{"--plugin-config: is not a JSON object"}},
		{[]string{"--plugin-config", `/nowhere`}, []string{"--plugin-config: open /nowhere"}},
		{[]string{"--cni-version", "9.0.0"}, []string{"cniVersion"}},
		{[]string{"--netns", "x"}, []string{"--netns"}},
		// What is there is no plugin, and there is no network.
		{nil, []string{"is not the plugin of masq-cni"}},
	} {
		out := prepared(t, c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: it says\n%s\nnot %s", c.args, out, want)
			}
		}
	}
}

func TestKeysOfTheEntry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(" {\"mtu\": 1400}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const capabilities = `{"type":"masq","capabilities":{"io.kubernetes.cri.pod-annotations":true}`
	for _, c := range []struct{ keys, stateDir, want string }{
		{"", "/run/masq-cni", capabilities + "}"},
		{"", "/run/other", capabilities + `,"stateDir":"/run/other"}`},
		{` {"stateDir": "/run/mine"}`, "/run/other", capabilities + `,"stateDir":"/run/mine"}`},
		{file, "/run/masq-cni", capabilities + `,"mtu":1400}`},
	} {
		i := install{keys: c.keys, stateDir: c.stateDir, networkName: "net", cniVersion: "1.0.0"}
		if err := i.readKeys(); err != nil || string(i.entry) != c.want {
			t.Errorf("%s: %s, %v", c.keys, i.entry, err)
		}
	}
}

// Who keeps undoing what is done is answered ever more slowly, and anybody else at once.
func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	if due := p.after(now); due.Sub(now) != gather {
		t.Errorf("the first event is looked at after %s", due.Sub(now))
	}
	var waits []time.Duration
	changes := 0
	for start := now; now.Sub(start) < 2*time.Minute; changes++ {
		due := p.after(now)
		waits = append(waits, due.Sub(now))
		now = due
		p.changed(now)
	}
	if waits[1] != leastDelay || waits[3] > time.Second || waits[len(waits)-1] != mostDelay || changes > 20 || !p.fighting() {
		t.Errorf("%d changes in 2 minutes, after %v", changes, waits)
	}
	now = now.Add(calm + time.Second)
	if due := p.after(now); due.Sub(now) != gather {
		t.Errorf("after a calm it takes %s", due.Sub(now))
	}
	p.changed(now)
	if p.fighting() || p.delay != leastDelay {
		t.Errorf("after a calm the next waits %s", p.delay)
	}
}

func TestAwaitReady(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) {
		case 1, 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"ready":false,"reasons":["no sync has succeeded yet"]}`)
		case 3:
			http.Error(w, "proxy", http.StatusBadGateway)
		}
	}))
	defer s.Close()
	var log bytes.Buffer
	if err := awaitReady(t.Context(), s.URL, logReport{slog.New(slog.NewTextHandler(&log, nil))}); err != nil || asked.Load() != 4 {
		t.Errorf("%v after %d questions", err, asked.Load())
	}
	said := log.String()
	if strings.Count(said, "\n") != 2 || !strings.Contains(said, `why="no sync has succeeded yet"`) || !strings.Contains(said, "502 Bad Gateway proxy") {
		t.Errorf("it says\n%s", said)
	}
}

// apiServer answers for one Node, as Kubernetes does, and wants to see a token.
type apiServer struct {
	cluster
	*httptest.Server
	token, node atomic.Value
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{}
	s.token.Store("first")
	s.node.Store(`{"spec":{}}`)
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+s.token.Load().(string):
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"kind":"Status","message":"Unauthorized"}`)
		case r.URL.Path == "/api/v1/nodes/hidden":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path != "/api/v1/nodes/n":
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, s.node.Load().(string))
		}
	}))
	t.Cleanup(s.Close)
	s.cluster = cluster{server: s.URL, credentials: t.TempDir()}
	s.write(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	s.write(t, "token", "first\n")
	return s
}

func (s *apiServer) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.credentials, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRangesOfANode(t *testing.T) {
	s := newAPIServer(t)
	wantFault := func(node, want string) {
		t.Helper()
		if got, err := s.ranges(t.Context(), node); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v", got, err)
		}
	}
	wantFault("n", "no spec.podCIDRs")
	wantFault("hidden", "may not get /api/v1/nodes/hidden")
	wantFault("m", "kubectl get nodes")
	wantFault("../nodes/n", "has no /api/v1/nodes/..%2Fnodes%2Fn")
	s.node.Store(`{"spec":{"podCIDR":"10.0.0.0/24"}}`)
	if got, err := s.ranges(t.Context(), "n"); err != nil || len(got) != 1 || got[0].String() != "10.0.0.0/24" {
		t.Errorf("%v, %v", got, err)
	}
	s.node.Store(`{"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24","fd00::/64"]}}`)
	if got, err := s.ranges(t.Context(), "n"); err != nil || len(got) != 2 || got[1].String() != "fd00::/64" {
		t.Errorf("%v, %v", got, err)
	}
	s.node.Store(`{"spec":{"podCIDRs":["10.0.0.1/24"]}}`)
	wantFault("n", `"10.0.0.1/24"`)
	// The kubelet has put another token there.
	s.token.Store("second")
	wantFault("n", "401 Unauthorized Unauthorized")
	s.write(t, "token", "second")
	wantFault("n", `"10.0.0.1/24"`)
	s.write(t, "ca.crt", "nothing")
	wantFault("n", "has no certificate")
	if err := os.Remove(filepath.Join(s.credentials, "token")); err != nil {
		t.Fatal(err)
	}
	wantFault("n", "automountServiceAccountToken")
}

// The ranges are waited for.
func TestAwaitRanges(t *testing.T) {
	s := newAPIServer(t)
	said := make(chan string, 10)
	log := logReport{slog.New(slog.NewTextHandler(writerFunc(func(b []byte) { said <- string(b) }), nil))}
	go func() {
		if text := <-said; strings.Contains(text, "--allocate-node-cidrs") {
			s.node.Store(`{"spec":{"podCIDRs":["10.0.0.0/24"]}}`)
		}
	}()
	if got, err := s.awaitRanges(t.Context(), "n", log); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

func TestInCluster(t *testing.T) {
	for _, c := range []struct{ host, port, want string }{
		{"10.0.0.1", "6443", "https://10.0.0.1:6443"}, {"fd00::1", "443", "https://[fd00::1]:443"}, {"10.0.0.1", "", "https://10.0.0.1:443"},
	} {
		got, err := inCluster(func(name string) string {
			return map[string]string{"KUBERNETES_SERVICE_HOST": c.host, "KUBERNETES_SERVICE_PORT": c.port}[name]
		})
		if err != nil || got.server != c.want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := inCluster(func(string) string { return "" }); err == nil {
		t.Error("no pod is one")
	}
}
