package nodeconf

import (
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestAllowAnnotations(t *testing.T) {
	for _, c := range []struct {
		name  string
		texts []string
		want  []string
	}{
		{"no key", []string{"masqLinkLocal: true"}, nil},
		{"none", []string{"allowAnnotations: []"}, []string{}},
		{"short", []string{"allowAnnotations: [egress]"}, []string{masq.EgressAnnotation}},
		{"full", []string{`{"allowAnnotations": ["masq-cni.dev/snat-addresses", "egress"]}`}, []string{masq.SNATAnnotation, masq.EgressAnnotation}},
		{"two files", []string{"allowAnnotations: [egress]", "allowAnnotations: [masq-cni.dev/egress, snat-addresses]"}, masq.Annotations},
		{"one of two files", []string{"allowAnnotations: []", "masqLinkLocal: true"}, []string{}},
	} {
		n := mustMerge(t, c.texts...)
		got := n.Policy.AllowAnnotations
		if (got == nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		again, err := Parse("f", must(n.MarshalJSON()))
		if back := again.Policy.AllowAnnotations; err != nil || (back == nil) != (got == nil) || !slices.Equal(back, got) {
			t.Errorf("%s: after writing and reading: %q, %v", c.name, back, err)
		}
		if strings.Contains(n.String(), "allowAnnotations") != (c.want != nil) {
			t.Errorf("%s: the text is\n%s", c.name, n)
		}
	}
	const remedy = `; give a list of annotations such as ["masq-cni.dev/egress"]`
	checkFaults(t, []faulty{
		{"null", "allowAnnotations:", `f:1:18: allowAnnotations: null is not allowed here` + remedy},
		{"text", "allowAnnotations: egress", `f:1:19: allowAnnotations: "egress" is a string` + remedy},
		{"unknown", "allowAnnotations: [direct]", `f:1:20: allowAnnotations: "direct" is not an annotation of masq; give "masq-cni.dev/egress" or "masq-cni.dev/snat-addresses"`},
		{"twice", "allowAnnotations: [egress, masq-cni.dev/egress]", `f:1:28: allowAnnotations: "masq-cni.dev/egress" is given twice, first on line 1, column 20; keep one of them`},
	})
}
