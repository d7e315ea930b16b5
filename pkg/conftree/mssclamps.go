package conftree

import (
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// MSSClamp is an entry of mssClamps: the MSS of connections with the addresses of a prefix.
type MSSClamp struct {
	Prefix netip.Prefix
	MSS    uint16
}

// MSSClamps reads an object of prefixes with their MSS.
func (r *Reader) MSSClamps(key string, v Value) []Found[MSSClamp] {
	if v.Kind != Object {
		r.WrongType(key, v, "give prefixes with their MSS, such as {\"198.51.100.0/24\": 1220}")
		return nil
	}
	if n := len(v.Members); n > masq.MaxPrefixes {
		r.Fault(v.Place, key, v.Show(), fmt.Sprintf("has %d entries", n), fmt.Sprintf("give at most %d", masq.MaxPrefixes))
		return nil
	}
	remedy := fmt.Sprintf("give %d-%d", masq.ClampMin, masq.ClampMax)
	var out []Found[MSSClamp]
	seen := map[netip.Prefix]Place{}
	for _, m := range v.Members {
		if m.Key.Kind == Invalid || m.Value.Kind == Invalid {
			continue
		}
		prefix, bad := masq.ParsePrefix(m.Key.Text)
		if m.Key.Kind == List || m.Key.Kind == Object {
			r.WrongType(key, m.Key, "give a prefix as the key")
			continue
		}
		if bad != nil {
			r.Fault(m.Key.Place, key, masq.Quote(m.Key.Text), bad.Wrong, bad.Remedy)
			continue
		}
		if first, repeated := seen[prefix]; repeated {
			r.repeated(m.Key.Place, key, masq.Quote(m.Key.Text), first)
			continue
		}
		seen[prefix] = m.Key.Place
		name := key + "." + prefix.String()
		if m.Value.Kind != Number {
			r.WrongType(name, m.Value, remedy)
			continue
		}
		c, ok := clampTo(m.Value)
		if !ok {
			r.Fault(m.Value.Place, name, m.Value.Show(), notBytes, remedy)
			continue
		}
		out = append(out, Found[MSSClamp]{m.Key.Place, MSSClamp{prefix, uint16(c.Bytes())}, masq.Quote(prefix.String()) + " with " + m.Value.Show()})
	}
	return out
}

// MSSClampsOf returns entries as a policy has them: nil without an entry.
func MSSClampsOf(all []Found[MSSClamp]) masq.MSSClamps {
	if len(all) == 0 {
		return nil
	}
	out := masq.MSSClamps{}
	for _, f := range all {
		out[f.Value.Prefix] = f.Value.MSS
	}
	return out
}
