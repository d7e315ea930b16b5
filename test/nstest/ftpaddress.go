package nstest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// FTPMode is the command that agrees on the data connection.
type FTPMode string

// The modes. In the first two, active, the server connects to the address that
// the client writes into the command, which is what NAT breaks.
const (
	PORT FTPMode = "PORT" // active, IPv4
	EPRT FTPMode = "EPRT" // active, both families
	PASV FTPMode = "PASV" // passive, IPv4
	EPSV FTPMode = "EPSV" // passive, both families
)

// Active reports whether the server opens the data connection.
func (m FTPMode) Active() bool { return m == PORT || m == EPRT }

// formatHostPort writes an address as PORT and the answer to PASV have it:
// h1,h2,h3,h4,p1,p2 (RFC 959).
func formatHostPort(a netip.AddrPort) string {
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.Addr().String(), ".", ","), a.Port()>>8, a.Port()&255)
}

func parseHostPort(s string) (netip.AddrPort, error) {
	var b [6]byte
	fields := strings.Split(s, ",")
	if len(fields) != len(b) {
		return netip.AddrPort{}, fmt.Errorf("%q is not h1,h2,h3,h4,p1,p2", s)
	}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q: %w", s, err)
		}
		b[i] = byte(n)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), nil
}

// formatExtended writes an address as EPRT has it: |1|192.0.2.1|6275| (RFC 2428).
func formatExtended(a netip.AddrPort) string {
	family := 1
	if a.Addr().Is6() {
		family = 2
	}
	return fmt.Sprintf("|%d|%s|%d|", family, a.Addr(), a.Port())
}

// parseExtended reads the argument of EPRT. In the answer to EPSV only the port
// is given; the address then is invalid.
func parseExtended(s string) (netip.AddrPort, error) {
	fields := strings.Split(s, "|")
	if len(fields) != 5 || fields[0] != "" || fields[4] != "" {
		return netip.AddrPort{}, fmt.Errorf("%q is not |family|address|port|", s)
	}
	port, err := strconv.ParseUint(fields[3], 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q: %w", s, err)
	}
	if fields[1] == "" && fields[2] == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	}
	a, err := netip.ParseAddr(fields[2])
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q: %w", s, err)
	}
	if (fields[1] == "1") != a.Is4() || (fields[1] == "2") != a.Is6() || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%q: family and address differ", s)
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}
