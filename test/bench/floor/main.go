// Command floor is a CNI plugin that does nothing. Its calls are the minimum cost of any
// CNI plugin in Go.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

func main() {
	nothing := func(*skel.CmdArgs) error { return nil }
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add: func(*skel.CmdArgs) error {
			return types.PrintResult(&types100.Result{CNIVersion: types100.ImplementedSpecVersion}, types100.ImplementedSpecVersion)
		},
		Del: nothing,
	}, version.All, "CNI plugin floor")
}
