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

// annotations is the capability by which a runtime passes the annotations of a pod.
var annotations = json.RawMessage(`{"io.kubernetes.cri.pod-annotations":true}`)

// Entry returns the entry of masq for a chain, after another plugin: its type, the
// capability that passes annotations, and the given keys, a JSON object or nothing.
func Entry(given []byte) (json.RawMessage, error) {
	keys, err := parseKeys(given)
	if err != nil {
		return nil, err
	}
	if _, has := keys["ipam"]; has {
		return nil, errors.New(`"ipam" is not allowed: after another plugin, masq takes the addresses of its result; remove the key`)
	}
	return object(keys), nil
}

// MainEntry returns the entry of masq as the plugin that makes the link. Its IPAM plugin is
// host-local with these ranges, and leases is the directory of the leases.
func MainEntry(given []byte, ranges []netip.Prefix, leases string) (json.RawMessage, error) {
	keys, err := parseKeys(given)
	if err != nil {
		return nil, err
	}
	if _, has := keys["ipam"]; has {
		return nil, errors.New(`"ipam" is not allowed: it is made from the pod ranges of the node; remove the key`)
	}
	type subnet struct {
		Subnet netip.Prefix `json:"subnet"`
	}
	// A container gets one address of each range set: one of each family.
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

// parseKeys reads the keys of --plugin-config.
func parseKeys(given []byte) (map[string]json.RawMessage, error) {
	keys := map[string]json.RawMessage{}
	if len(given) > 0 {
		if err := json.Unmarshal(given, &keys); err != nil {
			return nil, fmt.Errorf("is not a JSON object: %w", err)
		}
	}
	if keys == nil {
		return nil, errors.New("null is not a JSON object; give one such as {\"mtu\": 1400}")
	}
	for _, name := range []string{"type", "name", "cniVersion"} {
		if _, has := keys[name]; has {
			return nil, fmt.Errorf("%s is not allowed: masq-cni writes this key; remove it", masq.Quote(name))
		}
	}
	if _, has := keys["capabilities"]; !has {
		keys["capabilities"] = annotations
	}
	return keys, nil
}

// object returns an entry with these keys, with the type first.
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
