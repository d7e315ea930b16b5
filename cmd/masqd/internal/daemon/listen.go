package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/endpoint"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// listen listens on all addresses of the configuration or on none. publish writes to the
// state directory where masq-cni finds the endpoint.
func listen(c *Config, log *slog.Logger, publish func(func(*store.Daemon))) (out endpoint.Listeners, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close())
			out = endpoint.Listeners{}
		}
	}()
	const remedy = `give ADDRESS:PORT, with an address of this node and a free port, unix:/PATH, or "" for none`
	var d store.Daemon
	for _, address := range c.Listen {
		l, err := endpoint.Listen(address)
		if err != nil {
			return out, fmt.Errorf("--listen: %w; %s", err, remedy)
		}
		out.All = append(out.All, l)
		log.Info("listening", "address", flagValue(l.Addr()))
		_, isTCP := l.Addr().(*net.TCPAddr)
		switch {
		case isTCP && d.Listen == "":
			d.Listen = l.Addr().String()
		case !isTCP:
			d.Health = flagValue(l.Addr())
		}
	}
	if c.HealthListen != "" {
		if out.Health, err = endpoint.Listen(c.HealthListen); err != nil {
			return out, fmt.Errorf("--health-listen: %w; %s", err, remedy)
		}
		log.Info("listening for probes", "address", flagValue(out.Health.Addr()))
		if d.Health == "" {
			d.Health = flagValue(out.Health.Addr())
		}
	}
	if out.Len() > 0 {
		publish(func(to *store.Daemon) { to.Listen, to.Health, to.WebConfig = d.Listen, d.Health, c.WebConfig })
	}
	return out, nil
}

// flagValue returns an address as --listen takes it.
func flagValue(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}
