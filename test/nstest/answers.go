package nstest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/textproto"
	"time"
)

// LargeServer is a server whose answer to a small request is large.
type LargeServer struct {
	addr netip.AddrPort
	acceptor
}

// Addr is the address of the server.
func (s *LargeServer) Addr() netip.AddrPort { return s.addr }

// ServeTLS starts a TLS server with a certificate of about 4 kB. After the handshake it closes
// the connection. With port 0 the kernel chooses a port.
func (n *NS) ServeTLS(addr netip.AddrPort) (*LargeServer, error) {
	c, err := largeCertificate()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
	return n.serveLarge(addr, func(c net.Conn) { _ = tls.Server(c, config).Handshake() })
}

// ServeHTTP starts an HTTP server that answers each request with 4 kB, and closes.
func (n *NS) ServeHTTP(addr netip.AddrPort) (*LargeServer, error) {
	return n.serveLarge(addr, func(c net.Conn) {
		r := textproto.NewReader(bufio.NewReader(c))
		if _, err := r.ReadLine(); err != nil {
			return
		}
		if _, err := r.ReadMIMEHeader(); err != nil {
			_, _ = fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nConnection: close\r\n\r\n%04096d", 0)
	})
}

// ServeSSH starts a server that begins as an SSH server does: with its version, and after the
// client's version with a list of algorithms of 1 kB. Then it waits for the client.
func (n *NS) ServeSSH(addr netip.AddrPort) (*LargeServer, error) {
	return n.serveLarge(addr, func(c net.Conn) {
		if _, err := fmt.Fprint(c, "SSH-2.0-nstest\r\n"); err != nil {
			return
		}
		r := bufio.NewReader(c)
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		const length = 1024
		if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, length), make([]byte, length)...)); err != nil {
			return
		}
		_, _ = r.ReadByte()
	})
}

func (n *NS) serveLarge(addr netip.AddrPort, answer func(net.Conn)) (*LargeServer, error) {
	l, err := n.Listen(addr)
	if err != nil {
		return nil, err
	}
	s := &LargeServer{addr: addrPort(l.Addr())}
	s.serve(l, answer)
	return s, n.own(s)
}

// largeCertificate makes a certificate with many names.
func largeCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	for i := range 100 {
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("server-%03d.a-long-name.example.org", i))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
