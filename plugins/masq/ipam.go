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

// lessor leases addresses to one attachment.
type lessor interface {
	// lease gets addresses, or none; fresh says that the attachment has none yet.
	lease(fresh bool) (*types100.Result, error)
	// release gives them back. known are those that were leased, if that is known.
	release(known []netip.Addr) error
	// check reports that a lease is missing. known are the addresses that were leased.
	check(known []netip.Addr) error
	status() error
	// collect releases the leases that are this node's and of no valid attachment.
	collect(own ownership) error
}

// lessorFor returns host-local in this process, which saves starting another, and
// every other IPAM plugin as a program.
func lessorFor(ipam string, args *skel.CmdArgs) lessor {
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
		return types.NewError(codeUnavailable, "ipam: host-local cannot be configured so", err.Error())
	}
	if err := writable(l.Dir()); err != nil {
		return types.NewError(codeUnavailable, "ipam: leases cannot be written", l.Dir()+": "+err.Error())
	}
	return nil
}

func (h hostLocal) collect(own ownership) error {
	l, err := h.open()
	if err != nil {
		return err
	}
	return l.Collect(own.mayRelease)
}

// delegate is an IPAM plugin run as CNI says: with this plugin's own environment
// and stdin. The CNI library's package for it brings a tracing framework along,
// which costs every start of this plugin half a millisecond.
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
		// The later of two settings of a variable counts. GC releases attachments
		// other than the one that the environment names.
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
		// It has leased what nobody can read; it has to know that nobody took it.
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
	return knownVerb(err)
}

func (d delegate) collect(ownership) error {
	_, err := d.run("GC")
	return knownVerb(err)
}

// knownVerb makes nothing of an IPAM plugin's word that it does not know a verb: it
// is older than the verb.
func knownVerb(err error) error {
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
