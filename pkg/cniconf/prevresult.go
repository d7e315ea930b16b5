package cniconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types040 "github.com/containernetworking/cni/pkg/types/040"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// prevResult reads the result of the plugin before, which has the version of the
// configuration, and converts it to the latest version.
func (r *reader) prevResult(cniVersion string) *types100.Result {
	const key, remedy = "prevResult", "correct the plugin that gave this result"
	v, given := r.value(key)
	if !given || cniVersion == "" { // without a version it cannot be read
		return nil
	}
	if v.Kind != conftree.Object {
		r.WrongType(key, v, remedy)
		return nil
	}
	result, err := convert(v, cniVersion)
	if err != nil {
		// The errors of package cni repeat parts of the result unquoted.
		r.Fault(v.Place, key, v.Show(), fmt.Sprintf("is not a result of version %s: %s", cniVersion, masq.Quote(err.Error())), remedy)
		return nil
	}
	return result
}

func convert(v conftree.Value, cniVersion string) (*types100.Result, error) {
	// A result before 1.0.0 may lack a version. It is then read by the version of the
	// configuration, as by version.ParsePrevResult. encoding/json ignores the case of keys.
	members := map[string]json.RawMessage{}
	for _, m := range v.Members {
		members[m.Key.Text] = m.Value.Raw // the last value of a repeated key counts
	}
	versioned := false
	for key, raw := range members {
		versioned = versioned || strings.EqualFold(key, "cniVersion") && string(raw) != `""` && string(raw) != "null"
	}
	if !versioned {
		members["cniVersion"] = json.RawMessage(masq.Quote(cniVersion)) // digits and dots only
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	given, err := version.NewResult(cniVersion, text)
	if err != nil {
		return nil, err
	}
	if err := refuseNull(given); err != nil {
		return nil, err
	}
	result, err := types100.NewResultFromResult(given)
	if err != nil {
		return nil, err
	}
	for i, ip := range result.IPs {
		if len(ip.Address.IP) == 0 || len(ip.Address.Mask) == 0 {
			return nil, fmt.Errorf("ips[%d] has no address", i)
		}
		if n := ip.Interface; n != nil && (*n < 0 || *n >= len(result.Interfaces)) {
			return nil, fmt.Errorf("ips[%d].interface is %d, which is not an index of interfaces", i, *n)
		}
	}
	return result, nil
}

// refuseNull refuses lists that contain null: the conversions of package cni panic on
// them.
func refuseNull(result types.Result) error {
	null := errors.New("interfaces, ips or routes contain null")
	switch r := result.(type) {
	case *types040.Result:
		if slices.Contains(r.Interfaces, nil) || slices.Contains(r.IPs, nil) || slices.Contains(r.Routes, nil) {
			return null
		}
	case *types100.Result:
		if slices.Contains(r.Interfaces, nil) || slices.Contains(r.IPs, nil) || slices.Contains(r.Routes, nil) {
			return null
		}
	}
	return nil
}
