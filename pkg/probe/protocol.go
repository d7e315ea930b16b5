package probe

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// Protocol is what a server speaks whose answer to a small request is large.
type Protocol string

// Protocols that MeasureInward knows.
const (
	TLS     Protocol = "TLS"
	HTTP    Protocol = "HTTP"
	SSH     Protocol = "SSH"
	Unknown Protocol = ""
)

// wellKnown has the protocols of some ports. For other ports MeasureInward identifies the
// protocol by the server's first answer.
var wellKnown = map[uint16]Protocol{
	22: SSH, 80: HTTP, 443: TLS, 465: TLS, 563: TLS, 636: TLS, 853: TLS, 990: TLS, 993: TLS, 995: TLS,
	2379: TLS, 2380: TLS, 6443: TLS, 8443: TLS, 10250: TLS,
}

// exchange writes a request, and reads until the server's answer is complete or a read fails.
// It returns false if the answer is not what the protocol says.
func (p Protocol) exchange(c net.Conn, t Target) bool {
	switch p {
	case TLS:
		// X25519 only: a post-quantum key share makes the request 1.2 kB longer, and this
		// exchange tests large answers to a small request.
		config := &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // nothing is sent over the connection
			ServerName:         t.Name, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}, MinVersion: tls.VersionTLS12,
		}
		_ = tls.Client(&firstFlight{Conn: c}, config).Handshake() // an alert is an answer too
		return true
	case HTTP:
		host := t.Name
		if host == "" {
			host = t.Address.Addr().String()
			if !t.is4() {
				host = "[" + host + "]"
			}
		}
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: masq-cni\r\nConnection: close\r\n\r\n")); err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(c, enoughHTTP))
		return true
	case SSH:
		if _, err := c.Write([]byte("SSH-2.0-masqcni\r\n")); err != nil {
			return false
		}
		return readKEXINIT(bufio.NewReader(c))
	}
	return false
}

// enoughHTTP is the number of bytes after which an HTTP answer need not be read further.
const enoughHTTP = 4 << 10

// readKEXINIT reads an SSH server's version (RFC 4253, section 4.2) and its first packet, the
// list of its algorithms.
func readKEXINIT(r *bufio.Reader) bool {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return false
		}
		if bytes.HasPrefix(line, []byte("SSH-")) {
			break
		}
	}
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return false
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > maxSSHPacket {
		return false
	}
	_, err := io.CopyN(io.Discard, r, n)
	return err == nil
}

// maxSSHPacket is the size of the longest packet that each SSH program reads (RFC 4253).
const maxSSHPacket = 35000

// firstFlight ends a TLS handshake with the server's first answer: what the client would write
// then is not sent.
type firstFlight struct {
	net.Conn
	read bool
}

func (f *firstFlight) Write(b []byte) (int, error) {
	// A record of a handshake begins with type 22; its message, at byte 5, with type 1 for a
	// ClientHello, the second of which answers a HelloRetryRequest.
	isHello := len(b) > 5 && b[0] == 22 && b[5] == 1
	if !f.read || isHello {
		return f.Conn.Write(b)
	}
	if len(b) > 0 && b[0] == 22 { // TLS 1.2: the client has read the answer whole
		return 0, errAnswered
	}
	return len(b), nil // TLS 1.3: "change cipher spec", and "finished" after the whole answer
}

func (f *firstFlight) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	f.read = f.read || n > 0
	return n, err
}

var errAnswered = errors.New("the server has answered")

// recognize returns the protocol of the first bytes that a server sent.
func recognize(b []byte) Protocol {
	switch {
	case len(b) >= 3 && (b[0] == 0x16 || b[0] == 0x15) && b[1] == 3: // a handshake or alert record
		return TLS
	case bytes.HasPrefix(b, []byte("HTTP/")):
		return HTTP
	case bytes.HasPrefix(b, []byte("SSH-")):
		return SSH
	}
	return Unknown
}
