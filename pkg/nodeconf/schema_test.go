package nodeconf

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/test/golden"
)

func TestSchemaIsTheCode(t *testing.T) {
	const path = "../../deploy/masq-agent.schema.json"
	golden.Compare(t, path, Schema())
}

// decoded returns the schema as a JSON value.
func decoded(t *testing.T) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// violations checks a value by the part of JSON Schema that Schema uses. It also reports
// unknown keywords.
func violations(s map[string]any, v any, at string) (out []string) {
	bad := func(format string, args ...any) { out = append(out, at+": "+fmt.Sprintf(format, args...)) }
	for _, word := range slices.Sorted(maps.Keys(s)) {
		arg := s[word]
		switch word {
		case "$schema", "$id", "title", "description", "default":
		case "type":
			n, isNumber := v.(float64)
			_, isString := v.(string)
			_, isBool := v.(bool)
			_, isArray := v.([]any)
			_, isObject := v.(map[string]any)
			if ok := map[string]bool{
				"integer": isNumber && n == math.Trunc(n), "string": isString, "boolean": isBool, "array": isArray, "object": isObject,
			}[arg.(string)]; !ok {
				bad("%v is not of type %v", v, arg)
			}
		case "enum":
			if !slices.ContainsFunc(arg.([]any), func(x any) bool { return reflect.DeepEqual(x, v) }) {
				bad("%v is not one of %v", v, arg)
			}
		case "anyOf":
			if !slices.ContainsFunc(arg.([]any), func(x any) bool { return len(violations(x.(map[string]any), v, at)) == 0 }) {
				bad("%v matches none", v)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(arg.(string)).MatchString(text) {
				bad("%q does not match", text)
			}
		case "minimum", "maximum":
			if n, ok := v.(float64); ok && (word == "minimum" && n < arg.(float64) || word == "maximum" && n > arg.(float64)) {
				bad("%v is beyond %v", n, arg)
			}
		case "items":
			list, _ := v.([]any)
			for i, x := range list {
				out = append(out, violations(arg.(map[string]any), x, fmt.Sprintf("%s[%d]", at, i))...)
			}
		case "maxItems":
			if list, _ := v.([]any); float64(len(list)) > arg.(float64) {
				bad("%d items", len(list))
			}
		case "uniqueItems":
			list, _ := v.([]any)
			for i, x := range list {
				if slices.ContainsFunc(list[:i], func(y any) bool { return reflect.DeepEqual(x, y) }) {
					bad("%v twice", x)
				}
			}
		case "properties":
			object, _ := v.(map[string]any)
			for name, x := range object {
				if p, ok := arg.(map[string]any)[name]; ok {
					out = append(out, violations(p.(map[string]any), x, at+"."+name)...)
				} else if s["additionalProperties"] == false {
					bad("no %q", name)
				}
			}
		case "propertyNames":
			object, _ := v.(map[string]any)
			for name := range object {
				out = append(out, violations(arg.(map[string]any), name, at+" key")...)
			}
		case "maxProperties":
			if object, _ := v.(map[string]any); float64(len(object)) > arg.(float64) {
				bad("%d properties", len(object))
			}
		case "additionalProperties":
			_, named := s["properties"]
			of, isSchema := arg.(map[string]any)
			if named == isSchema {
				bad("additionalProperties is %v", arg)
			}
			object, _ := v.(map[string]any)
			for name, x := range object {
				if isSchema {
					out = append(out, violations(of, x, at+"."+name)...)
				}
			}
		default:
			bad("unknown keyword %q", word)
		}
	}
	return out
}

// The schema and the code accept the same values, except for rules that a schema cannot
// express.
func TestSchemaAgrees(t *testing.T) {
	s := decoded(t)
	same := func(key, value string) {
		t.Helper()
		text := `{"` + key + `": ` + value + `}`
		if key == "snatAddressesRouted" { // a schema cannot say that the other list has each
			text = `{"snatAddresses": ["192.0.2.1", "2001:db8::1", "10.0.0.0"], "` + key + `": ` + value + `}`
		}
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(text, err)
		}
		_, err := Parse("f", []byte(text))
		if bad := violations(s, v, ""); (err == nil) != (len(bad) == 0) {
			t.Errorf("%s: the code reports %v, the schema %v", text, err, bad)
		}
	}
	for _, name := range keyNames() {
		for _, value := range []string{
			`true`, `false`, `0`, `1`, `47`, `48`, `65495`, `65496`, `-1`, `1.5`, `""`, `"x"`, `"off"`, `"pmtu"`, `"60s"`, `"1h30m0.5s"`, `"5"`, `[]`, `{}`, `[1]`, `["x"]`, `[[]]`,
			`["10.0.0.0/8"]`, `["10.0.0.0/8", "fd00::/8", "::/0", "0.0.0.0/0"]`, `["10.0.0.0/33"]`, `["fd00::/129"]`, `["10.0.0/8"]`, `["10.0.0.256/32"]`, `["010.0.0.0/8"]`, `["10.0.0.0"]`,
			`["192.0.2.1"]`, `["192.0.2.1", "2001:db8::1"]`, `["192.0.2.1", "192.0.2.1"]`, `["192.0.2.1/32"]`, `["eth0"]`,
			`"1024"`, `"1023"`, `"65535"`, `"65536"`, `"1024-65535"`, `"1024-29999, 32768-65535"`, `"20000-"`, `"20000,"`, `" 20000 "`, `"9999,10000,10239,10240,59999,60000,65499,65529"`,
			`{"ftp": []}`, `{"ftp": [21, 2121]}`, `{"ftp": [21, 21]}`, `{"ftp": [0]}`, `{"ftp": [65536]}`, `{"ftp": 21}`, `{"gopher": []}`, `{"ftp": ["21"]}`,
			`{"10.0.0.0/8": 500, "fd00::/8": 1220}`, `{"10.0.0.0/8": 47}`, `{"10.0.0.0/8": 65496}`, `{"10.0.0.0": 500}`, `{"10.0.0.0/8": "500"}`, `{"10.0.0.0/8": 1.5}`,
		} {
			same(name, value)
		}
		if k, _ := keyOf(name); !k.ofAgent {
			same(name, `null`)
		}
	}
	same("unknown", "1")
	same("masqueradeCIDRs", `["10.0.0.0/8", "10.0.0.0/8"]`)
}

// A default of the schema, written out, changes nothing.
func TestSchemaDefaults(t *testing.T) {
	s := decoded(t)
	for name, p := range s["properties"].(map[string]any) {
		value, given := p.(map[string]any)["default"]
		if !given {
			if name != "resyncInterval" && name != "allowAnnotations" { // without them is not as with any value
				t.Errorf("%s has no default", name)
			}
			continue
		}
		text, err := json.Marshal(map[string]any{name: value})
		if err != nil {
			t.Fatal(err)
		}
		n := load(t, string(text))
		if n.Assumed != (name != "nonMasqueradeCIDRs") {
			t.Errorf("%s: assumed %t", name, n.Assumed)
		}
		if n.Assumed = true; !equal(n, Default()) {
			t.Errorf("%s gives\n%s", text, n)
		}
	}
}

// The examples of the documentation fit.
func TestSchemaExamples(t *testing.T) {
	s := decoded(t)
	for _, text := range []string{
		`{"nonMasqueradeCIDRs": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], "masqLinkLocal": false, "resyncInterval": "60s"}`,
		`{"nonMasqueradeCIDRs": [], "cidrLimit": 64, "masqLinkLocal": true, "masqLinkLocalIPv6": true}`,
		`{"masqueradeCIDRs": ["10.9.0.0/16"], "sourceCIDRs": ["10.244.0.0/16"], "snatAddresses": ["192.0.2.1"], "toPorts": "20000-29999,40000-49999",
		  "randomFully": true, "mssClamp": "pmtu", "helpers": {"ftp": [21]}, "dropInvalid": true, "acceptOtherLinks": false, "allowAnnotations": ["masq-cni.dev/egress"]}`,
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if bad := violations(s, v, ""); bad != nil {
			t.Errorf("%s: %v", text, bad)
		}
		load(t, text)
	}
}
