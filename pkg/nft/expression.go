package nft

import (
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// expression is one expression of a rule: its name in the kernel, and its attributes.
type expression struct {
	name string
	data netlink.Encoder
}

// nameOf returns the kernel's name of an expression, or "" if the ruleset does not use it.
func nameOf(e expr.Any) string {
	switch e.(type) {
	case *expr.Bitwise:
		return "bitwise"
	case *expr.Byteorder:
		return "byteorder"
	case *expr.Cmp:
		return "cmp"
	case *expr.Counter:
		return "counter"
	case *expr.Ct:
		return "ct"
	case *expr.Dynset:
		return "dynset"
	case *expr.Exthdr:
		return "exthdr"
	case *expr.Fib:
		return "fib"
	case *expr.Immediate, *expr.Verdict:
		return "immediate"
	case *expr.Lookup:
		return "lookup"
	case *expr.Meta:
		return "meta"
	case *expr.Numgen:
		return "numgen"
	case *expr.Objref:
		return "objref"
	case *expr.Payload:
		return "payload"
	case *expr.Rt:
		return "rt"
	case *expr.Socket:
		return "socket"
	}
	return ""
}

func encode(e expr.Any) (expression, error) {
	name := nameOf(e)
	if name == "" {
		return expression{}, fmt.Errorf("expression %T is unknown", e)
	}
	data, err := expr.MarshalExprData(unix.NFPROTO_INET, e)
	return expression{name, data}, err
}

// list encodes expressions as the value of NFTA_RULE_EXPRESSIONS.
func list(all []expression) netlink.Encoder {
	var out netlink.Encoder
	for _, e := range all {
		var x netlink.Encoder
		x.Text(unix.NFTA_EXPR_NAME, e.name)
		x.Nest(unix.NFTA_EXPR_DATA, e.data)
		out.Nest(unix.NFTA_LIST_ELEM, x)
	}
	return out
}

// parseList is the inverse of list.
func parseList(b []byte) ([]expression, error) {
	var out []expression
	err := each(b, func(typ uint16, data []byte) error {
		if typ != unix.NFTA_LIST_ELEM {
			return fmt.Errorf("attribute %d among expressions", typ)
		}
		f, err := fields(data)
		if err != nil {
			return err
		}
		out = append(out, expression{netlink.Text(f[unix.NFTA_EXPR_NAME]), f[unix.NFTA_EXPR_DATA]})
		return nil
	})
	return out, err
}

// counterOf returns the index of the counter among the expressions of a rule, or -1.
func counterOf(all []expression) int {
	return slices.IndexFunc(all, func(e expression) bool { return e.name == "counter" })
}
