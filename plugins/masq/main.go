// Command masq is the CNI plugin. It makes the link of a container, or runs after a plugin
// that made it, and adds nftables rules that masquerade the container's packets.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"
)

// Set by the build.
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
