package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// DaemonHelpers counts what masqd's helpers do now.
type DaemonHelpers struct {
	// Connections is the number of masqd's connections to servers, and of calls of talk.
	Connections int `json:"connections"`
	// Ports is the number of announced ports at which a peer can begin a flow. Streams of RTSP
	// are flows from the beginning, and are not counted.
	Ports int `json:"ports"`
}

// DaemonHelpersOf counts the elements of SpokenMap and OpenedMap that have one of these
// identities. Without identities it counts all.
func DaemonHelpersOf(elements []nft.HelperElement, identities ...string) (d DaemonHelpers) {
	for _, e := range elements {
		if len(identities) > 0 && !slices.Contains(identities, e.Identity) {
			continue
		}
		switch e.Kind {
		case ruleset.SpokenMap:
			d.Connections++
		case ruleset.OpenedMap:
			d.Ports++
		}
	}
	return d
}

// String returns the counts: "2 connections, 4 ports open".
func (d DaemonHelpers) String() string {
	return Plural(d.Connections, "connection") + ", " + Plural(d.Ports, "port") + " open"
}

// helperList lists the helpers of a policy with their ports, first those of the kernel:
// "ftp 21, rtsp 554 8554 (by masqd: 2 connections, 4 ports open)".
func (p Pod) helperList() string {
	list := func(all []masq.Helper) string {
		var out []string
		for _, h := range all {
			words := []string{h.Name}
			for _, port := range h.Ports {
				words = append(words, strconv.Itoa(int(port)))
			}
			out = append(out, strings.Join(words, " "))
		}
		return strings.Join(out, ", ")
	}
	kernel, daemon := list(p.Rules.KernelHelpers()), list(p.Rules.DaemonHelpers())
	if daemon == "" {
		return kernel
	}
	if kernel != "" {
		kernel += ", "
	}
	return fmt.Sprintf("%s%s (by masqd: %s)", kernel, daemon, p.DaemonHelpers)
}
