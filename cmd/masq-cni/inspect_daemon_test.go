package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestReadyAddress: masqd is asked where it needs neither TLS nor a password. Locks of
// earlier versions have Listen alone.
func TestReadyAddress(t *testing.T) {
	for want, d := range map[string]store.Daemon{
		"":                  {},
		"127.0.0.1:9468":    {Listen: "127.0.0.1:9468"},
		"unix:/run/s":       {Listen: "127.0.0.1:9468", Health: "unix:/run/s"},
		"127.0.0.1:9469":    {Listen: ":9468", Health: "127.0.0.1:9469", WebConfig: "/etc/web.yml"},
		"unix:/run/another": {Health: "unix:/run/another"},
	} {
		if got := readyAddress(d); got != want {
			t.Errorf("%+v: %q", d, got)
		}
	}
	if got := readyAddress(store.Daemon{Listen: ":9468", WebConfig: "/etc/web.yml"}); got != "" {
		t.Errorf("with a web configuration alone it is %q", got)
	}
	for listen, want := range map[string]string{
		"unix:/run/s": "unix /run/s", "0.0.0.0:1": "tcp 127.0.0.1:1", "[::]:1": "tcp [::1]:1", "192.0.2.1:1": "tcp 192.0.2.1:1", "garbage": " ",
	} {
		if network, address, _ := dialable(listen); network+" "+address != want {
			t.Errorf("%s: %s %s", listen, network, address)
		}
	}
}

// TestReadyOverUnixSocket: inspect and install ask masqd over a Unix socket.
func TestReadyOverUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "masqd.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	code, body := http.StatusServiceUnavailable, `{"reasons":["busy"]}`
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("%s is requested", r.URL)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	})}}
	s.Start()
	defer s.Close()
	if why, _ := notReady("unix:" + socket); why != "busy" {
		t.Errorf("inspect: %q", why)
	}
	if why := unready(t.Context(), readyClient("unix:"+socket), "unix:"+socket); why != "busy" {
		t.Errorf("install: %q", why)
	}
	code = http.StatusOK
	if err := awaitReady(t.Context(), "unix:"+socket, nil); err != nil {
		t.Error(err)
	}
	s.Close()
	if why := unready(context.Background(), readyClient("unix:"+socket), "unix:"+socket); why == "" {
		t.Error("it is ready without a socket")
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is there")
	}
	for url, ok := range map[string]bool{"unix:/run/masq-cni/masqd.sock": true, "unix:masqd.sock": false, "unix:": false} {
		if err := checkURL(url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}
