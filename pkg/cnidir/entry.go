package cnidir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// annotations has the runtime pass a pod's annotations to the plugin.
var annotations = json.RawMessage(`{"io.kubernetes.cri.pod-annotations":true}`)

// Entry is masq's own configuration, after another plugin: its type, what has the
// runtime pass annotations on, and the given keys, a JSON object or nothing.
func Entry(given []byte) (json.RawMessage, error) {
	keys, err := parseKeys(given)
	if err != nil {
		return nil, err
	}
	if _, has := keys["ipam"]; has {
		return nil, errors.New(`"ipam": after another plugin masq takes the addresses from its result; leave the key out`)
	}
	return object(keys), nil
}

// MainEntry is masq's configuration where it makes the link itself: with leases of
// host-local's kind, in a directory that is as gone as the containers after a reboot.
func MainEntry(given []byte, ranges []netip.Prefix, leases string) (json.RawMessage, error) {
	keys, err := parseKeys(given)
	if err != nil {
		return nil, err
	}
	if _, has := keys["ipam"]; has {
		return nil, errors.New(`"ipam": it is made of the node's pod ranges; leave the key out`)
	}
	type subnet struct {
		Subnet netip.Prefix `json:"subnet"`
	}
	// A container has an address of each set: one of each family.
	var sets [][]subnet
	for _, is6 := range []bool{false, true} {
		var set []subnet
		for _, p := range ranges {
			if p.Addr().Is6() == is6 {
				set = append(set, subnet{p})
			}
		}
		if set != nil {
			sets = append(sets, set)
		}
	}
	keys["ipam"], err = json.Marshal(struct {
		Type    string     `json:"type"`
		DataDir string     `json:"dataDir"`
		Ranges  [][]subnet `json:"ranges"`
	}{"host-local", leases, sets})
	return object(keys), err
}

// parseKeys reads the keys that a person gave.
func parseKeys(given []byte) (map[string]json.RawMessage, error) {
	keys := map[string]json.RawMessage{}
	if len(given) > 0 {
		if err := json.Unmarshal(given, &keys); err != nil {
			return nil, fmt.Errorf("is not a JSON object: %w", err)
		}
	}
	if keys == nil {
		return nil, errors.New("null is not a JSON object")
	}
	for _, name := range []string{"type", "name", "cniVersion"} {
		if _, has := keys[name]; has {
			return nil, fmt.Errorf("%s: that is given already; leave the key out", masq.Quote(name))
		}
	}
	if _, has := keys["capabilities"]; !has {
		keys["capabilities"] = annotations
	}
	return keys, nil
}

// object is an entry of these keys, with the type first, as people write it.
func object(keys map[string]json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"type":%q`, Plugin)
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		quoted, _ := json.Marshal(name) // a string always can
		fmt.Fprintf(&b, ",%s:%s", quoted, keys[name])
	}
	b.WriteByte('}')
	return b.Bytes()
}
