package main

import (
	"github.com/spf13/pflag"

	"github.com/masq-cni/masq-cni/cmd/internal/flaggroup"
	"github.com/masq-cni/masq-cni/cmd/masqd/internal/daemon"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
)

// legacyFlags declares the flags of ip-masq-agent that masqd does not have with the same name
// and meaning. The returned function returns the flags on the command line and in the
// environment.
func legacyFlags(flags *pflag.FlagSet) func() []daemon.Override {
	all := nodeconf.LegacyFlags()
	values := make([]string, len(all))
	for i, l := range all {
		if flags.Lookup(l.Name) != nil {
			continue
		}
		short := ""
		if len(l.Name) == 1 { // -v=2, as glog takes it
			short = l.Name
		}
		flags.StringVarP(&values[i], l.Name, short, "", l.Usage)
		group := "Flags of ip-masq-agent"
		if l.NoEffect {
			group = "Flags of ip-masq-agent that have no effect here"
		}
		flaggroup.Put(flags.Lookup(l.Name), group)
		if l.Bool {
			flags.Lookup(l.Name).NoOptDefVal = "true"
		}
	}
	return func() []daemon.Override {
		var out []daemon.Override
		for i, l := range all {
			if f := flags.Lookup(l.Name); f != nil && f.Changed && f.Value.String() == values[i] {
				out = append(out, daemon.Override{LegacyFlag: l, Value: values[i]})
			}
		}
		return out
	}
}
