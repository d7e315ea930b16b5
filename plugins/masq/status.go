package main

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
)

// status says whether an ADD could succeed. The kubelet asks again and again, so
// it looks at nothing that grows.
func status(args *skel.CmdArgs) error {
	conf, err := cniconf.Load(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	n, err := openNode(conf.StateDir)
	if err != nil {
		return unavailable(err)
	}
	defer n.close()
	if err := writable(conf.StateDir); err != nil {
		return types.NewError(codeUnavailable, "the records cannot be written", "stateDir: "+conf.StateDir+": "+err.Error())
	}
	n.warnOfDuplicates()
	if conf.IPMasq {
		there, err := n.rules.Exists()
		if err != nil {
			return unavailable(err)
		}
		if !there {
			all, err := n.attachments()
			if err != nil {
				return types.NewError(codeUnavailable, "the records cannot be read", err.Error())
			}
			for _, a := range all {
				if a.Policy != nil {
					return types.NewError(codeUnavailableLimited, "the rules of attachments are gone: "+a.Identity()+" and others have no way out",
						"table inet masq is missing; the next ADD or masqd puts it back")
				}
			}
		}
		if err := n.hasHelpers(codeUnavailable, &conf.Policy); err != nil {
			return unavailable(err)
		}
		if err := n.hasEgress(&conf.Policy, nil); err != nil {
			return unavailable(err)
		}
	}
	if conf.IPAMType != "" {
		if err := lessorFor(conf.IPAMType, args).status(); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// warnOfDuplicates names addresses that a plugin before masq has given twice. ADD works
// nevertheless.
func (n *node) warnOfDuplicates() {
	duplicates, err := n.records.Marked()
	for _, d := range duplicates {
		warn("STATUS: %s: packets to it reach one of them only; give their networks subnets that do not overlap, or delete one of them", d)
	}
	if err != nil {
		warn("STATUS: duplicate addresses cannot be looked up: %s", err)
	}
}

// unavailable gives an error the code that says that ADD would fail.
func unavailable(err error) error {
	if known, ok := errors.AsType[*types.Error](err); ok {
		return types.NewError(codeUnavailable, known.Msg, known.Details)
	}
	return types.NewError(codeUnavailable, err.Error(), "")
}

// writable asks for the directory, or the nearest above it that is there.
func writable(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return err
		}
		dir = filepath.Dir(dir)
	}
}
