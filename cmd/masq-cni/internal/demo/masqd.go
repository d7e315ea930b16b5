package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// daemonTimeout is how long masqd may take to start and to handle the container's connections.
const daemonTimeout = time.Minute

// masqd is a masqd that runs in the node.
type masqd struct {
	*nstest.Command
	log bytes.Buffer
}

// startDaemon starts the masqd that was delivered with this program, which is in the same
// directory in a checkout, a package, a tarball and the image.
func (l *lab) startDaemon(ctx context.Context) (*masqd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(self), "masqd")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("the step needs masqd in the directory of this program: %w", err)
	}
	d := &masqd{}
	// Without a file, the node's policy has its defaults, whatever this machine has.
	d.Command = l.Node.Command(ctx, path, "--state-dir", l.stateDir(), "--config", filepath.Join(l.dir, "no-config"), "--listen", "", "--doctor-interval", "0")
	d.Stderr = &d.log
	return d, d.Start()
}

// end ends masqd. The error of a step gets what masqd has logged.
func (d *masqd) end(err error) error {
	_ = d.Cancel() // it may have ended
	_ = d.Wait()
	if err != nil {
		err = fmt.Errorf("%w; masqd logged: %s", err, strings.TrimSpace(d.log.String()))
	}
	return err
}

// attachHelped attaches the container with a helper of masqd, and waits until masqd handles the
// flows to its port.
func (l *lab) attachHelped(ctx context.Context, helper string, proto uint8, port uint16) error {
	// The container does not wait for masqd, which starts at the same time.
	err := l.attach(ctx, map[string]any{"helpers": map[string]any{helper: []uint16{port}}, "helpersRequired": false})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	key := ruleset.HelperKey{Addr: netip.AddrPortFrom(l.addr, port), Proto: proto}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var all []nft.HelperElement
		err := l.Node.Do(func() error {
			c, err := nft.Open()
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			all, err = c.HelperElements(ruleset.RedirectMap)
			return err
		})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(e nft.HelperElement) bool { return e.Key == key }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("masqd does not handle the container's connections")
		case <-tick.C:
		}
	}
}
