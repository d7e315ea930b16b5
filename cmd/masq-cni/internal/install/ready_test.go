package install

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

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
	if err := awaitReady(t.Context(), s.URL, logReporter{slog.New(slog.NewTextHandler(&log, nil))}); err != nil || asked.Load() != 4 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	lines := log.String()
	if strings.Count(lines, "\n") != 2 || !strings.Contains(lines, `why="no sync has succeeded yet"`) || !strings.Contains(lines, "502 Bad Gateway proxy") {
		t.Errorf("log:\n%s", lines)
	}
}

func TestCheckURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"": true, "http://127.0.0.1:9468/readyz": true, "localhost:9468": false,
		"unix:/run/masq-cni/masqd.sock": true, "unix:masqd.sock": false, "unix:": false,
	} {
		if err := checkURL(url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}
