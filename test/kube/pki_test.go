package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// pki is a certificate authority with its files.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPKI(t testing.TB, dir string) *pki {
	t.Helper()
	p := &pki{dir: dir}
	p.issue(t, "ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	return p
}

// client makes a certificate for a user in groups, and a kubeconfig with it.
func (p *pki) client(t testing.TB, server, user string, groups ...string) (kubeconfig string) {
	t.Helper()
	name := filepath.Base(user)
	p.issue(t, name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	file := p.file(name + ".kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: kube, cluster: {server: "%s", certificate-authority: "%s"}}]
users: [{name: user, user: {client-certificate: "%s", client-key: "%s"}}]
contexts: [{name: kube, context: {cluster: kube, user: user}}]
current-context: kube
`, server, p.file("ca.crt"), p.file(name+".crt"), p.file(name+".key"))
	assert.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// server makes a certificate for a server with these names and addresses.
func (p *pki) server(t testing.TB, name string, hosts ...string) {
	t.Helper()
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	p.issue(t, name, c)
}

// issue signs a certificate and writes it with its key. The first certificate is self-signed.
func (p *pki) issue(t testing.TB, name string, c *x509.Certificate) {
	t.Helper()
	key := assert.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if p.cert == nil {
		p.cert, p.key = c, key
	}
	der := assert.Must(x509.CreateCertificate(rand.Reader, c, p.cert, key.Public(), p.key))(t)
	secret := assert.Must(x509.MarshalPKCS8PrivateKey(key))(t)
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: der},
		name + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		assert.NoError(t, os.WriteFile(p.file(file), pem.EncodeToMemory(block), 0o600))
	}
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }
