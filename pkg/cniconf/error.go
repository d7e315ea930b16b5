package cniconf

import (
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// err returns all faults as one *types.Error. It is nil without a fault.
func (r *reader) err(network string) error {
	what := "invalid configuration"
	if network != "" {
		what += " of network " + masq.Quote(network)
	}
	switch faults, args := r.Faults(), r.args.Faults(); {
	case r.unsupported.IsFaulty():
		// What is a fault in this version may be correct in the intended version.
		return faultsError(types.ErrIncompatibleCNIVersion, what+": unsupported cniVersion", r.unsupported.Faults())
	case len(faults) > 0:
		return faultsError(types.ErrInvalidNetworkConfig, what, append(faults, args...))
	case len(args) > 0:
		return faultsError(types.ErrInvalidEnvironmentVariables, "invalid environment variable CNI_ARGS", args)
	}
	return nil
}

func faultsError(code uint, what string, faults conftree.Faults) error {
	count := "1 fault"
	if len(faults) > 1 {
		count = fmt.Sprintf("%d faults", len(faults))
	}
	return types.NewError(code, what+": "+count, faults.Error())
}
