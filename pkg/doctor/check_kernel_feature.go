package doctor

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// kernelFeature asks the kernel only if rules are missing: rules that exist show that the
// kernel has what they need.
var kernelFeature = Check{
	ID:           "kernel-feature",
	Title:        "The kernel lacks a feature that the rules need",
	Severity:     report.SeverityError,
	Reads:        "a transaction that the kernel checks and does not apply",
	Applies:      "table `inet masq` is missing, or differs from the desired state",
	Remedy:       "Load the module, or run a newer kernel.",
	NeedsSummary: true,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		t := n.Summary.Table
		if t == nil || !t.Desired || t.Owner != "" || t.Exists && t.Drift == 0 {
			return nil, nil
		}
		all, err := n.activePolicies()
		if err != nil {
			return nil, err
		}
		features, err := queryRules((*nft.Conn).Features)
		if err != nil {
			return nil, err
		}
		return missingFeatures(features, all, kernelRelease()), nil
	},
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// missingFeatures returns findings for features that are in use and not available. Missing
// helpers are findings of another check.
func missingFeatures(features []nft.Feature, all *activePolicies, release string) (out []Finding) {
	use := featuresInUse(all)
	for _, f := range features {
		if f.Available || !use(f.Name) {
			continue
		}
		x := Finding{
			Severity: report.SeverityError,
			Object:   "kernel " + release,
			Message:  fmt.Sprintf("lacks the feature %q", f.Name),
			Evidence: []Evidence{{"nftables, " + f.Name, "not available"}},
			Why:      "The rules need it for " + f.For + ", and the kernel refuses all rules without it.",
			Remedy:   Remedy{Text: "run a kernel with this feature: masq-cni needs Linux 5.15 or newer"},
		}
		if f.Module != "" {
			x.Remedy = Remedy{
				Text:     "load the module, and if the kernel has none run another kernel",
				Commands: []string{"modprobe " + f.Module, "echo " + f.Module + " >>/etc/modules-load.d/masq-cni.conf"},
			}
		}
		out = append(out, x)
	}
	return out
}

// featuresInUse returns a function that reports whether the rules of policies need a feature
// of nft.Conn.Features.
func featuresInUse(all *activePolicies) func(name string) bool {
	var helpers, addresses, choices bool
	all.all(func(_ int, p *masq.Policy) {
		helpers = helpers || len(p.KernelHelpers()) > 0
		addresses = addresses || len(p.SNATAddresses) > 0
		choices = choices || len(p.SNATAddresses) > 1 || len(p.ToPorts) > 1
	})
	return func(name string) bool {
		switch name {
		case "inet table", "filter chain", "nat chain", "verdict map", "interval set", "concatenation",
			"masquerade", "fib", "ct state", "tcp option maxseg set", "rt mtu":
			return true
		case "snat":
			return addresses
		case "numgen":
			return choices
		case "socket", "ct helper set":
			return helpers
		}
		return false
	}
}
