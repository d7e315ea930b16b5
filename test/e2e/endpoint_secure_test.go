package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// authority is a certificate authority with one certificate for a server and a client.
type authority struct {
	pool *x509.CertPool
	pair tls.Certificate
	dir  string
}

// newAuthority writes ca.pem, cert.pem and key.pem into a directory.
func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{pool: x509.NewCertPool(), dir: t.TempDir()}
	key := assert.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "masqd"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	write := func(name, kind string, der []byte) []byte {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		assert.NoError(t, os.WriteFile(filepath.Join(a.dir, name), text, 0o600))
		return text
	}
	a.pool.AppendCertsFromPEM(write("ca.pem", "CERTIFICATE", assert.Must(x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key))(t)))
	certificate := write("cert.pem", "CERTIFICATE", assert.Must(x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key))(t))
	a.pair = assert.Must(tls.X509KeyPair(certificate, write("key.pem", "EC PRIVATE KEY", assert.Must(x509.MarshalECPrivateKey(key))(t))))(t)
	return a
}

// rightHash is bcrypt of "right", at the lowest cost.
const rightHash = "$2a$04$MQrXZsoL3wFSDChG8aqQXeOFo0laTEmy2pxT2IBOTkC.oP9YikoD."

// socketPath returns a path for a Unix socket. It is not in w.dir: such a path has at most
// 107 bytes (sun_path in unix(7)), and TMPDIR may be long.
func (w *world) socketPath(name string) string {
	w.t.Helper()
	dir := assert.Must(os.MkdirTemp("/tmp", "masqd"))(w.t)
	w.t.Cleanup(func() { assert.NoError(w.t, os.RemoveAll(dir)) })
	return filepath.Join(dir, name)
}

// dials connects to masqd's endpoint.
type dials struct {
	w       *world
	network string
	address string
	tls     *tls.Config // nil: no TLS
	user    string
	pass    string
}

// get returns the status of a path, or 0 if there is no answer.
func (d dials) get(path string) (code int, body string) {
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: d.tls,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if d.network == "unix" {
				return new(net.Dialer).DialContext(ctx, "unix", d.address)
			}
			return d.w.Node.Dial(ctx, "tcp", netip.AddrPort{}, netip.MustParseAddrPort(d.address))
		},
	}}
	scheme, host := "http", d.address
	if d.tls != nil {
		scheme = "https"
	}
	if d.network == "unix" {
		host = "masqd"
	}
	r := assert.Must(http.NewRequest(http.MethodGet, fmt.Sprintf("%s://%s%s", scheme, host, path), nil))(d.w.t)
	if d.user != "" {
		r.SetBasicAuth(d.user, d.pass)
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(b)
}

// With a web configuration, clients need a certificate of the authority and the password over
// TCP. They need neither over the Unix socket and the address for probes. masq-cni inspect
// asks there.
func TestEndpointWebConfig(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attach("a", w.conflist("1.0.0", w.masq()))
	a, stranger := newAuthority(t), newAuthority(t)
	web := filepath.Join(a.dir, "web.yaml")
	assert.NoError(t, os.WriteFile(web, []byte("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\nbasic_auth_users:\n  prometheus: "+rightHash+"\n"), 0o600))
	socket, probes := w.socketPath("masqd.sock"), "127.0.0.1:9469"
	d := w.launch("--state-dir", filepath.Join(w.dir, "state"), "--listen", daemonAt+",unix:"+socket, "--web.config.file", web, "--health-listen", probes)

	good := &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.pair}}
	over := dials{w: w, network: "tcp", address: daemonAt, tls: good, user: "prometheus", pass: "right"}
	until(t, "masqd is ready", func() bool { code, _ := over.get("/readyz"); return code == http.StatusOK })
	plain, wrong, nobody, without, other := over, over, over, over, over
	plain.tls = nil
	wrong.pass = "wrong"
	nobody.user = ""
	without.tls = &tls.Config{RootCAs: a.pool}
	other.tls = &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{stranger.pair}}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/"} {
		for name, c := range map[string]struct {
			dials
			code int
		}{
			"all that is needed":         {over, http.StatusOK},
			"no TLS":                     {plain, http.StatusBadRequest},
			"a wrong password":           {wrong, http.StatusUnauthorized},
			"no password":                {nobody, http.StatusUnauthorized},
			"no certificate":             {without, 0},
			"a certificate of another":   {other, 0},
			"the Unix socket":            {dials{w: w, network: "unix", address: socket}, http.StatusOK},
			"the server is not verified": {dials{w: w, network: "tcp", address: daemonAt, tls: &tls.Config{RootCAs: stranger.pool, Certificates: good.Certificates}}, 0},
		} {
			if code, text := c.get(path); code != c.code {
				t.Errorf("%s with %s: %d, not %d: %s", path, name, code, c.code, text)
			}
		}
	}
	health := dials{w: w, network: "tcp", address: probes}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/metrics": http.StatusNotFound} {
		if code, text := health.get(path); code != want {
			t.Errorf("the address for probes: %s: %d, not %d: %s", path, code, want, text)
		}
	}
	if info := assert.Must(os.Lstat(socket))(t); info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("the socket's mode is %s", info.Mode())
	}

	// A password that is changed in the file applies from the next request on.
	text := string(assert.Must(os.ReadFile(web))(t))
	assert.NoError(t, os.WriteFile(web, []byte(strings.Replace(text, "prometheus:", "scraper:", 1)), 0o600))
	if code, _ := over.get("/metrics"); code != http.StatusUnauthorized {
		t.Errorf("a user that was removed gets %d", code)
	}
	over.user = "scraper"
	if code, _ := over.get("/metrics"); code != http.StatusOK {
		t.Errorf("a user that was added gets %d", code)
	}

	if n, _ := w.glance(); !n.Daemon.Running || n.Daemon.NotReady != "" {
		t.Errorf("inspect says %+v", n.Daemon)
	}
	d.end()
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket still exists")
	}
}

// masq-cni inspect asks a masqd that listens on a Unix socket alone. masqd replaces the socket
// of a masqd that was killed.
func TestEndpointUnixSocket(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attach("a", w.conflist("1.0.0", w.masq()))
	socket := w.socketPath("masqd.sock")
	over := dials{w: w, network: "unix", address: socket}
	for _, c := range []struct {
		config string
		code   int
		why    string
	}{
		{"nonMasqueradeCIDRs: [10.0.0.0]", http.StatusServiceUnavailable, "configuration: "},
		{"nonMasqueradeCIDRs: []", http.StatusOK, ""},
	} {
		d := w.launch("--state-dir", filepath.Join(w.dir, "state"), "--listen", "unix:"+socket, "--config", w.writeConfig(c.config))
		until(t, fmt.Sprintf("masqd answers %d", c.code), func() bool { code, _ := over.get("/readyz"); return code == c.code })
		if code, text := over.get("/metrics"); code != http.StatusOK || !strings.Contains(text, "\nmasq_attachments ") {
			t.Errorf("%d\n%s", code, text)
		}
		if n, _ := w.glance(); !n.Daemon.Running || !strings.Contains(n.Daemon.NotReady, c.why) || (n.Daemon.NotReady == "") != (c.why == "") {
			t.Errorf("inspect says %q, not %q", n.Daemon.NotReady, c.why)
		}
		assert.NoError(t, d.Process.Kill())
		_ = d.Wait()
		if _, err := os.Lstat(socket); err != nil {
			t.Error(err)
		}
	}
	w.nodeRun(built("masq-cni"), "uninstall", "--state-dir", filepath.Join(w.dir, "state"), "--force")
	if _, err := os.Lstat(socket); err == nil {
		t.Error("uninstall left the socket")
	}
}
