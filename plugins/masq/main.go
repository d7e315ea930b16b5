// Command masq is the CNI plugin: it gives a container its link, or chains after a
// plugin that did, and puts the container's addresses under a masquerade policy.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"
)

// The build sets both.
var (
	buildVersion = "dev"
	buildCommit  = "unknown"
)

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    add,
		Del:    del,
		Check:  check,
		GC:     gc,
		Status: status,
	}, version.All, "CNI plugin masq "+buildVersion+" ("+buildCommit+")")
}
