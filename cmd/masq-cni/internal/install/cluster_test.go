package install

import (
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
)

// apiServer is an API server with one Node that requires a token.
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
	wantFault("hidden", "is not allowed to get /api/v1/nodes/hidden")
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
	// The kubelet replaced the token.
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

// TestAwaitRanges waits for ranges that are assigned later.
func TestAwaitRanges(t *testing.T) {
	s := newAPIServer(t)
	lines := make(chan string, 10)
	log := logReporter{slog.New(slog.NewTextHandler(writerFunc(func(b []byte) { lines <- string(b) }), nil))}
	go func() {
		if text := <-lines; strings.Contains(text, "--allocate-node-cidrs") {
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
		}, "")
		if err != nil || got.server != c.want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := inCluster(func(string) string { return "" }, ""); err == nil {
		t.Error("outside a pod: no error")
	}
}
