package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/masq-cni/masq-cni/pkg/hostlocal"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ipamPlugin leases addresses for one attachment.
type ipamPlugin interface {
	// lease returns new addresses. fresh says that the attachment has no leases yet.
	lease(fresh bool) (*types100.Result, error)
	// release releases the leases. known are the leased addresses, if they are known.
	release(known []netip.Addr) error
	// check returns an error if a lease of the known addresses is missing.
	check(known []netip.Addr) error
	status() error
	// collect releases leases of this node that belong to no valid attachment.
	collect(own leaseFilter) error
}

// ipamFor returns host-local, which runs in this process to save the start of another, or
// another IPAM plugin, which is run as a program.
func ipamFor(ipam string, args *skel.CmdArgs) ipamPlugin {
	if ipam == "host-local" {
		return hostLocal{args}
	}
	return delegate{ipam, args}
}

type hostLocal struct{ args *skel.CmdArgs }

func (h hostLocal) open() (*hostlocal.Leases, error) {
	return hostlocal.Open(h.args.StdinData, h.args.Args)
}

func (h hostLocal) lease(fresh bool) (*types100.Result, error) {
	l, err := h.open()
	if err != nil {
		return nil, err
	}
	return l.Lease(h.args.ContainerID, h.args.IfName, fresh)
}

func (h hostLocal) release(known []netip.Addr) error {
	l, err := hostlocal.OpenForRelease(h.args.StdinData)
	if err != nil {
		return err
	}
	return l.Release(h.args.ContainerID, h.args.IfName, known)
}

func (h hostLocal) check(known []netip.Addr) error {
	l, err := h.open()
	if err != nil {
		return err
	}
	return l.Check(h.args.ContainerID, h.args.IfName, known)
}

func (h hostLocal) status() error {
	l, err := h.open()
	if err != nil {
		return types.NewError(codeUnavailable, "ipam: the configuration of host-local is invalid", err.Error())
	}
	if err := writable(l.Dir()); err != nil {
		return types.NewError(codeUnavailable, "ipam: leases cannot be written", l.Dir()+": "+err.Error())
	}
	return nil
}

func (h hostLocal) collect(own leaseFilter) error {
	l, err := h.open()
	if err != nil {
		return err
	}
	return l.Collect(own.mayRelease)
}

// delegate is an IPAM plugin that is run with this plugin's environment and stdin, as CNI
// specifies. The CNI library's package for that imports a tracing framework, which makes
// each start of this plugin half a millisecond slower.
type delegate struct {
	name string
	args *skel.CmdArgs
}

func (d delegate) run(command string) ([]byte, error) {
	if d.name != filepath.Base(d.name) {
		return nil, fmt.Errorf("ipam.type: %q is not the name of a plugin", d.name)
	}
	for _, dir := range filepath.SplitList(d.args.Path) {
		path := filepath.Join(dir, d.name)
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		cmd := exec.Command(path)
		// The last value of a variable applies. GC releases attachments other than the one
		// in the environment.
		cmd.Env = append(os.Environ(), "CNI_COMMAND="+command,
			"CNI_CONTAINERID="+d.args.ContainerID, "CNI_IFNAME="+d.args.IfName, "CNI_NETNS="+d.args.Netns)
		cmd.Stdin = bytes.NewReader(d.args.StdinData)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		err := cmd.Run()
		if err == nil {
			return out.Bytes(), nil
		}
		var said types.Error
		if json.Unmarshal(out.Bytes(), &said) == nil && said.Msg != "" {
			return nil, &said
		}
		return nil, fmt.Errorf("IPAM plugin %s: %w: %q", path, err, out.String())
	}
	return nil, fmt.Errorf("ipam.type: there is no plugin %q in CNI_PATH %q", d.name, d.args.Path)
}

func (d delegate) lease(bool) (*types100.Result, error) {
	out, err := d.run("ADD")
	if err != nil {
		return nil, err
	}
	r, err := d.result(out)
	if err != nil {
		// The addresses cannot be read, so the lease is released.
		return nil, errors.Join(fmt.Errorf("IPAM plugin %s gave no result: %w", d.name, err), d.release(nil))
	}
	return r, nil
}

func (d delegate) result(out []byte) (*types100.Result, error) {
	var conf types.PluginConf
	if err := json.Unmarshal(d.args.StdinData, &conf); err != nil {
		return nil, err
	}
	r, err := create.Create(conf.CNIVersion, out)
	if err != nil {
		return nil, err
	}
	return types100.NewResultFromResult(r)
}

func (d delegate) release([]netip.Addr) error {
	_, err := d.run("DEL")
	return err
}

func (d delegate) check([]netip.Addr) error {
	_, err := d.run("CHECK")
	return err
}

func (d delegate) status() error {
	_, err := d.run("STATUS")
	return ignoreUnknownVerb(err)
}

func (d delegate) collect(leaseFilter) error {
	_, err := d.run("GC")
	return ignoreUnknownVerb(err)
}

// ignoreUnknownVerb ignores the error of an IPAM plugin that is older than a verb.
func ignoreUnknownVerb(err error) error {
	var known *types.Error
	if errors.As(err, &known) && (known.Code == types.ErrInvalidEnvironmentVariables || known.Code == types.ErrIncompatibleCNIVersion) {
		return nil
	}
	return err
}

func familyOf(v4 bool) masq.Family {
	if v4 {
		return masq.IPv4
	}
	return masq.IPv6
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
