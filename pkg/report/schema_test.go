package report

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/golden"
)

// TestSchema compares names and types in JSON with testdata/schema.txt. Programs rely on them:
// they may be added with -update, but neither removed nor changed.
func TestSchema(t *testing.T) {
	var out strings.Builder
	for _, command := range []struct {
		name  string
		value any
	}{
		{"inspect", Node{}},
		{"inspect pods", []Attachment{}},
		{"inspect pod", []Pod{}},
		{"inspect flows", []Flow{}},
		{"inspect helpers", Helpers{}},
		{"inspect ports", Ports{}},
		{"inspect rules", []Rule{}},
		{"inspect drift", Drift{}},
	} {
		fmt.Fprintln(&out, command.name)
		fields(t, &out, reflect.TypeOf(command.value), "")
	}
	golden.Compare(t, "testdata/schema.txt", []byte(out.String()))
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// fields writes the path and type of each value of a type in JSON.
func fields(t *testing.T, out *strings.Builder, typ reflect.Type, path string) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ == reflect.TypeFor[Time]():
		fmt.Fprintf(out, "\t%s time\n", path)
	case typ == reflect.TypeFor[Seconds]():
		fmt.Fprintf(out, "\t%s seconds\n", path)
	case typ == reflect.TypeFor[masq.PortRange](), typ.Implements(textMarshaler), typ.Implements(marshaler):
		fmt.Fprintf(out, "\t%s string\n", path)
	case typ.Kind() == reflect.Slice:
		fields(t, out, typ.Elem(), path+"[]")
	case typ.Kind() == reflect.Struct:
		for _, f := range reflect.VisibleFields(typ) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			switch {
			case f.Anonymous || !f.IsExported():
			case name == "" && len(f.Index) > 1:
			case name == "":
				t.Errorf("%s.%s has no name in JSON", typ, f.Name)
			case slices.Contains([]string{"", "omitempty", "omitzero"}, options):
				fields(t, out, f.Type, path+"."+name)
			default:
				t.Errorf("%s.%s has the unknown option %q in JSON", typ, f.Name, options)
			}
		}
	default:
		fmt.Fprintf(out, "\t%s %s\n", path, typ.Kind())
	}
}

// TestFlowNames: an empty flow has the names that every reader needs.
func TestFlowNames(t *testing.T) {
	b, err := json.Marshal(Flow{})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"network", "containerID", "interface", "podNamespace", "podName", "protocol", "original", "translated", "state", "begin", "end"} {
		if _, ok := got[name]; !ok {
			t.Errorf("an empty flow has no %q: %s", name, b)
		}
	}
	for _, tuple := range []string{"original", "translated"} {
		for _, name := range []string{"source", "sourcePort", "destination", "destinationPort"} {
			if _, ok := got[tuple].(map[string]any)[name]; !ok {
				t.Errorf("%s has no %q: %s", tuple, name, b)
			}
		}
	}
}
