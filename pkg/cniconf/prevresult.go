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

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// prevResult reads the result from before, which is in the version of the
// configuration, and converts it to the latest.
func (r *reader) prevResult(cniVersion string) *types100.Result {
	const key, mend = "prevResult", "mend the plugin that gave this result"
	raw, given := r.value(key)
	if !given || cniVersion == "" { // without a version there is no reading it
		return nil
	}
	o, ok := asObject(raw)
	if !ok {
		r.wrongType(key, raw, mend)
		return nil
	}
	result, err := convert(o, cniVersion)
	if err != nil {
		// The texts of these errors repeat parts of the result as they are.
		r.add(key, show(raw), fmt.Sprintf("is no result of version %s: %s", cniVersion, masq.Quote(err.Error())), mend)
		return nil
	}
	return result
}

func convert(o object, cniVersion string) (*types100.Result, error) {
	// Results before 1.0.0 may come without a version; they are read by the
	// configuration's, as version.ParsePrevResult does. Keys count in any case,
	// as encoding/json has it.
	versioned := slices.ContainsFunc(o.keys, func(k string) bool {
		return strings.EqualFold(k, "cniVersion") && string(o.values[k]) != `""` && kindOf(o.values[k]) != isNull
	})
	if !versioned {
		o.values["cniVersion"] = json.RawMessage(masq.Quote(cniVersion)) // one of CNI's: digits and dots
	}
	text, err := json.Marshal(o.values)
	if err != nil {
		return nil, err
	}
	given, err := version.NewResult(cniVersion, text)
	if err != nil {
		return nil, err
	}
	if err := nothingNil(given); err != nil {
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
			return nil, fmt.Errorf("ips[%d] belongs to interface %d of %d", i, *n, len(result.Interfaces))
		}
	}
	return result, nil
}

// nothingNil refuses lists that hold null: the conversions of package cni, and
// most that is written on top of it, do not expect them and panic.
func nothingNil(result types.Result) error {
	null := errors.New("interfaces, ips or routes hold null")
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
