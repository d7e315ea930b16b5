package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	prefix = "masqdemo"
	// The uplink of 1996 was a modem; its MTU let a keystroke overtake a download.
	narrow = 212
	subnet = "10.88.0.0/16"
)

// lab is a container, a node, a router behind a narrow link, and a server.
type lab struct {
	*nstest.Topology
	spaces  *nstest.Lab
	pod     *nstest.NS
	cni     *libcni.CNIConfig
	dir     string // of records and leases
	runtime *libcni.RuntimeConf
	present *libcni.NetworkConfigList // what the container is attached by
	addr    netip.Addr                // of the container
	ruleset string
}

func build(ctx context.Context, plugin string) (l *lab, err error) {
	if err := nstest.Sweep(prefix); err != nil {
		return nil, err
	}
	l = &lab{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close(ctx))
		}
	}()
	if l.spaces, err = nstest.Make(prefix); err != nil {
		return l, err
	}
	if l.Topology, err = l.spaces.Topology(nstest.Uplink{MTU: narrow, DropPMTU: true}); err != nil {
		return l, err
	}
	if l.pod, err = l.spaces.Namespace("pod"); err != nil {
		return l, err
	}
	if l.dir, err = os.MkdirTemp("", prefix+"-"); err != nil {
		return l, err
	}
	// The plugin answers to its type as its file's name.
	if err = os.Symlink(plugin, filepath.Join(l.dir, "masq")); err != nil {
		return l, err
	}
	l.cni = libcni.NewCNIConfigWithCacheDir([]string{l.dir}, filepath.Join(l.dir, "cache"), nil)
	l.runtime = &libcni.RuntimeConf{ContainerID: "demo", NetNS: l.pod.Path(), IfName: "eth0"}
	return l, nil
}

// attach gives the container its network, with a configuration that differs from
// the usual one by some keys.
func (l *lab) attach(ctx context.Context, change map[string]any) error {
	if err := l.detach(ctx); err != nil {
		return err
	}
	conf := map[string]any{
		"type":     "masq",
		"ipam":     map[string]any{"type": "host-local", "dataDir": filepath.Join(l.dir, "leases"), "subnet": subnet},
		"stateDir": l.state(),
		// As most container networks have it, whatever the uplink takes.
		"mtu":      1500,
		"mssClamp": "off",
	}
	maps.Copy(conf, change)
	text, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "demo", "plugins": []any{conf}})
	if err != nil {
		return err
	}
	list, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		return err
	}
	return l.Node.Do(func() error {
		r, err := l.cni.AddNetworkList(ctx, list, l.runtime)
		if err != nil {
			return fmt.Errorf("ADD: %w", err)
		}
		l.present = list
		return l.note(r)
	})
}

func (l *lab) detach(ctx context.Context) error {
	if l.present == nil {
		return nil
	}
	err := l.Node.Do(func() error { return l.cni.DelNetworkList(ctx, l.present, l.runtime) })
	if err != nil {
		return fmt.Errorf("DEL: %w", err)
	}
	l.present = nil
	return nil
}

// close clears the lab away, also when the context has ended.
func (l *lab) close(ctx context.Context) error {
	var errs []error
	if l.present != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		errs = append(errs, l.detach(ctx))
	}
	if l.spaces != nil {
		errs = append(errs, l.spaces.Close())
	}
	if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

// state is the directory of the node's records.
func (l *lab) state() string { return filepath.Join(l.dir, "state") }

// enter says how to enter the namespaces.
func (l *lab) enter() map[string]string {
	out := map[string]string{}
	for name, n := range map[string]*nstest.NS{"pod": l.pod, "node": l.Node, "router": l.Router, "server": l.Server} {
		out[name] = "nsenter --net=" + n.Path()
	}
	return out
}

// Clean removes labs that were kept or whose process died.
func Clean() error {
	err := nstest.Sweep(prefix)
	dirs, globErr := filepath.Glob(filepath.Join(os.TempDir(), prefix+"-*"))
	errs := []error{err, globErr}
	for _, d := range dirs {
		errs = append(errs, os.RemoveAll(d))
	}
	return errors.Join(errs...)
}
