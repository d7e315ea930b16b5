package nodeconf

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/conftree"
)

// defaultLimit is ip-masq-agent's cidrLimit. It counts the entries of
// nonMasqueradeCIDRs. In Azure's ip-masq-agent-v2 it counts the entries of each file.
const defaultLimit = 64

// cidrLimit reports a value of the wrong type. [reader.file] has read the value.
func (r *reader) cidrLimit(k key, v conftree.Value) {
	const remedy = "give a whole number such as 64, or remove the key"
	n, ok := v.Whole()
	switch {
	case v.Kind == conftree.Null: // encoding/json ignores it
	case v.Kind != conftree.Number:
		r.WrongType(k.name, v, remedy)
	case !ok:
		r.Fault(v.Place, k.name, v.Show(), "is not a whole number in plain digits", remedy)
	case n < 0:
		r.Fault(v.Place, k.name, v.Show(), "is negative", remedy)
	}
}

func (r *reader) nonMasquerade(k key, v conftree.Value) {
	r.s.listed = true
	if v.Kind == conftree.Null {
		return // for encoding/json an empty list, with which ip-masq-agent masquerades everything
	}
	if n := len(v.Items); v.Kind == conftree.List && n > r.limit && r.limit >= 0 {
		r.Fault(v.Place, k.name, v.Show(), fmt.Sprintf("has %d entries, and cidrLimit is %d", n, r.limit), "remove entries, or raise cidrLimit")
		return
	}
	r.prefixes(k, v, &r.s.nonMasquerade)
}
