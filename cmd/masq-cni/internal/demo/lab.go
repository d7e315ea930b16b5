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
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	prefix = "masqdemo" // of namespaces and directories
	// uplinkMTU is small, so that fragments and clamping are visible.
	uplinkMTU = 212
	subnet    = "10.88.0.0/16"
)

// lab is a container, a node, a router at the uplink of the node, and a server.
type lab struct {
	*nstest.Topology
	spaces  *nstest.Lab
	pod     *nstest.NS
	cni     *libcni.CNIConfig
	dir     string // of records and leases
	runtime *libcni.RuntimeConf
	network *libcni.NetworkConfigList // nil while the container is not attached
	addr    netip.Addr                // address of the container
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
	if l.Topology, err = l.spaces.Topology(nstest.Uplink{MTU: uplinkMTU, DropPMTU: true}); err != nil {
		return l, err
	}
	if l.pod, err = l.spaces.Namespace("pod"); err != nil {
		return l, err
	}
	if l.dir, err = os.MkdirTemp("", prefix+"-"); err != nil {
		return l, err
	}
	// The file name of a plugin is its type.
	if err = os.Symlink(plugin, filepath.Join(l.dir, "masq")); err != nil {
		return l, err
	}
	l.cni = libcni.NewCNIConfigWithCacheDir([]string{l.dir}, filepath.Join(l.dir, "cache"), nil)
	l.runtime = &libcni.RuntimeConf{ContainerID: "demo", NetNS: l.pod.Path(), IfName: "eth0"}
	return l, nil
}

// attach attaches the container. change has keys that differ from the demo's configuration.
func (l *lab) attach(ctx context.Context, change map[string]any) error {
	if err := l.detach(ctx); err != nil {
		return err
	}
	conf := map[string]any{
		"type":     "masq",
		"ipam":     map[string]any{"type": "host-local", "dataDir": filepath.Join(l.dir, "leases"), "subnet": subnet},
		"stateDir": l.stateDir(),
		// The usual MTU of container networks, larger than the MTU of the uplink.
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
		l.network = list
		return l.readAddress(r)
	})
}

// readAddress reads the IPv4 address of the container from the result of ADD.
func (l *lab) readAddress(r types.Result) error {
	result, err := types100.NewResultFromResult(r)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP.To4()); ok {
			l.addr = a
			return nil
		}
	}
	return errors.New("the result of ADD has no IPv4 address")
}

func (l *lab) detach(ctx context.Context) error {
	if l.network == nil {
		return nil
	}
	err := l.Node.Do(func() error { return l.cni.DelNetworkList(ctx, l.network, l.runtime) })
	if err != nil {
		return fmt.Errorf("DEL: %w", err)
	}
	l.network = nil
	return nil
}

// close removes the lab, even if ctx has ended.
func (l *lab) close(ctx context.Context) error {
	var errs []error
	if l.network != nil {
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

// stateDir returns the directory of the node's records.
func (l *lab) stateDir() string { return filepath.Join(l.dir, "state") }

// enterCommands returns the commands that enter the namespaces, by name.
func (l *lab) enterCommands() map[string]string {
	out := map[string]string{}
	for name, n := range map[string]*nstest.NS{"pod": l.pod, "node": l.Node, "router": l.Router, "server": l.Server} {
		out[name] = "nsenter --net=" + n.Path()
	}
	return out
}

// clean removes labs that were kept, and labs of killed processes.
func clean() error {
	err := nstest.Sweep(prefix)
	dirs, globErr := filepath.Glob(filepath.Join(os.TempDir(), prefix+"-*"))
	errs := []error{err, globErr}
	for _, d := range dirs {
		errs = append(errs, os.RemoveAll(d))
	}
	return errors.Join(errs...)
}
