package ipfix

import (
	"strings"
	"testing"
)

func TestParseCollector(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"192.0.2.9:4739", "192.0.2.9:4739/udp"},
		{"192.0.2.9:4739/udp", "192.0.2.9:4739/udp"},
		{"192.0.2.9:4739/tcp", "192.0.2.9:4739/tcp"},
		{"[2001:db8::9]:9/tcp", "[2001:db8::9]:9/tcp"},
		{"[fe80::1%eth0]:9", "[fe80::1%eth0]:9/udp"},
		{"collector.example:65535", "collector.example:65535/udp"},
	} {
		got, err := ParseCollector(c.in)
		if err != nil || got.String() != c.out {
			t.Errorf("%s: got %s, error %v", c.in, got, err)
		}
		if again, err := ParseCollector(got.String()); err != nil || again != got {
			t.Errorf("%s: the result parses to %s, error %v", c.in, again, err)
		}
	}
	for in, want := range map[string]string{
		"":                      `"" is not an address with a port`,
		"192.0.2.9":             `"192.0.2.9" is not an address with a port`,
		"2001:db8::9:4739":      `"2001:db8::9:4739" is not an address with a port`,
		":4739":                 `":4739" has no host`,
		"192.0.2.9:0":           `"192.0.2.9:0": port "0" is not in the range 1-65535`,
		"192.0.2.9:65536/tcp":   `port "65536" is not in the range 1-65535`,
		"192.0.2.9:ipfix":       `port "ipfix" is not in the range 1-65535`,
		"192.0.2.9:4739/sctp":   `"192.0.2.9:4739/sctp": "sctp" is neither udp nor tcp`,
		"192.0.2.9:4739/":       `"" is neither udp nor tcp`,
		"192.0.2.9:4739/tcp/":   `"tcp/" is neither udp nor tcp`,
		"udp://192.0.2.9:4739/": `"udp://192.0.2.9:4739/": port "" is not in the range 1-65535`,
	} {
		_, err := ParseCollector(in)
		if err == nil || !strings.HasPrefix(err.Error(), want) && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		} else if !strings.Contains(err.Error(), "give ADDRESS:PORT") {
			t.Errorf("%q: the error has no remedy: %v", in, err)
		}
	}
}

// TestUnknownHost: Open returns an error for a host name that does not exist.
func TestUnknownHost(t *testing.T) {
	c, err := ParseCollector("no..host:4739")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Collector: c}); err == nil || !strings.Contains(err.Error(), `"no..host:4739/udp" does not resolve`) {
		t.Errorf("%v", err)
	}
}

func FuzzParseCollector(f *testing.F) {
	f.Add("[2001:db8::9]:4739/tcp")
	f.Add("collector:4739")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCollector(s)
		if err != nil {
			return
		}
		if again, err := ParseCollector(c.String()); err != nil || again != c {
			t.Errorf("%q parses to %q, which parses to %q, error %v", s, c, again, err)
		}
	})
}

func TestOptions(t *testing.T) {
	err := Options{TemplateInterval: -1, QueueBytes: 5}.Validate()
	for _, want := range []string{"Collector: ", "TemplateInterval: -1ns is negative", "QueueBytes: 5 is too small; the minimum is 131072"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}
