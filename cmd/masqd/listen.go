package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/endpoint"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// addressList is the value of --listen: addresses, separated by commas.
type addressList []string

func (*addressList) Type() string     { return "address,..." }
func (l *addressList) String() string { return strings.Join(*l, ",") }

// Set replaces the addresses.
func (l *addressList) Set(s string) error {
	*l = nil
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}

// listen listens on all addresses of the flags or on none, and tells other programs where.
func listen(o options, log *slog.Logger, tell func(func(*store.Daemon))) (out endpoint.Listeners, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close())
			out = endpoint.Listeners{}
		}
	}()
	var d store.Daemon
	d.WebConfig = o.webConfig
	for _, address := range o.listen {
		l, err := endpoint.Listen(address)
		if err != nil {
			return out, fmt.Errorf("--listen: %w; give ADDRESS:PORT, an address of this node and a port that no other program has, unix:/PATH, or \"\" for none", err)
		}
		out.All = append(out.All, l)
		log.Info("listening", "address", written(l.Addr()))
		_, isTCP := l.Addr().(*net.TCPAddr)
		switch {
		case isTCP && d.Listen == "":
			d.Listen = l.Addr().String()
		case !isTCP:
			d.Health = written(l.Addr())
		}
	}
	if o.health != "" {
		if out.Health, err = endpoint.Listen(o.health); err != nil {
			return out, fmt.Errorf("--health-listen: %w; give ADDRESS:PORT, an address of this node and a port that no other program has, unix:/PATH, or \"\" for none", err)
		}
		log.Info("listening for probes", "address", written(out.Health.Addr()))
		if d.Health == "" {
			d.Health = written(out.Health.Addr())
		}
	}
	if len(o.listen) > 0 || o.health != "" {
		tell(func(to *store.Daemon) { to.Listen, to.Health, to.WebConfig = d.Listen, d.Health, d.WebConfig })
	}
	return out, nil
}

// written is an address as --listen takes it.
func written(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}
