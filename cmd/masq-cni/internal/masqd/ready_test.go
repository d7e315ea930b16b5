package masqd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReady checks the reasons for which masqd is not ready: what /readyz answers, and an
// error if it does not answer.
func TestReady(t *testing.T) {
	for answer, want := range map[string]string{
		"200 {\"ready\":true,\"reasons\":[\"a hint\"]}":   "",
		"503 {\"ready\":false,\"reasons\":[\"a\",\"b\"]}": "a; b",
		"503 garbage": "503 Service Unavailable garbage",
		"404 ":        "404 Not Found",
	} {
		code, body, _ := strings.Cut(answer, " ")
		status := http.StatusOK
		if _, err := fmt.Sscan(code, &status); err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		at := s.Listener.Addr().String()
		if got, err := readyAt(t.Context(), at); err != nil || strings.Join(got.Reasons, "; ") != want {
			t.Errorf("%q: %q, %v, want %q", answer, got.Reasons, err, want)
		}
		s.Close()
		if got, err := readyAt(t.Context(), at); err == nil {
			t.Errorf("a closed endpoint: %+v and no error", got)
		}
	}
	if got, err := readyAt(t.Context(), "garbage"); err != nil || len(got.Reasons) != 0 {
		t.Errorf("an address that cannot be dialed: %+v, %v", got, err)
	}
}

// TestReadyOverUnixSocket asks a masqd that listens on a Unix socket, as inspect and as
// install do.
func TestReadyOverUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "masqd.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("the request is for %s", r.URL)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"reasons":["busy"]}`)
	})}}
	s.Start()
	defer s.Close()
	client := NewClient("unix:" + socket)
	for name, ready := range map[string]func() (Readiness, error){
		"inspect": func() (Readiness, error) { return readyAt(t.Context(), "unix:"+socket) },
		"install": func() (Readiness, error) { return client.Ready(t.Context()) },
	} {
		if r, err := ready(); err != nil || !slices.Equal(r.Reasons, []string{"busy"}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	s.Close()
	if r, err := client.Ready(t.Context()); err == nil {
		t.Errorf("without a socket: %+v and no error", r)
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket still exists")
	}
}

func TestDialable(t *testing.T) {
	for listen, want := range map[string]string{
		"unix:/run/s": "unix /run/s", "0.0.0.0:1": "tcp 127.0.0.1:1", "[::]:1": "tcp [::1]:1", "192.0.2.1:1": "tcp 192.0.2.1:1", "garbage": " ",
	} {
		if network, address, _ := dialable(listen); network+" "+address != want {
			t.Errorf("%s: %s %s, want %s", listen, network, address, want)
		}
	}
}
