package cniconf

import (
	"fmt"
	"strings"
	"testing"
)

func TestToPorts(t *testing.T) {
	const remedy = `; give FIRST-LAST within 1024-65535, several separated by commas`
	in := func(ports string) string { return fmt.Sprintf(`"toPorts": %q`, ports) }
	checkFaults(t, []faulty{
		{"reversed", in("30000-20000"), `toPorts: "30000-20000" is not valid: "30000-20000" is reversed: 30000 is above 20000` + remedy},
		{"zero", in("0-20000"), `toPorts: "0-20000" is not valid: "0-20000": port 0 is not within 1-65535` + remedy},
		{"beyond", in("20000-65536"), `toPorts: "20000-65536" is not valid: "20000-65536": port 65536 is not within 1-65535` + remedy},
		{"text", in("high"), `toPorts: "high" is not valid: "high" is not a port range such as "20000-29999"` + remedy},
		{
			"overlap", in("2000-3000,3000-4000"),
			`toPorts: "2000-3000,3000-4000" is not valid: "3000-4000" overlaps "2000-3000"` + remedy,
		},
		{
			"several", in("a, 3000-4000, b"),
			`toPorts: "a, 3000-4000, b" is not valid: "a" is not a port range such as "20000-29999"` + remedy + "\n" +
				`toPorts: "a, 3000-4000, b" is not valid: "b" is not a port range such as "20000-29999"` + remedy,
		},
		{
			"privileged", in("1023-2000,3000"),
			`toPorts: "1023-2000,3000" is not valid: "1023-2000" has privileged ports, those below 1024; give ports of 1024-65535`,
		},
		{"number", `"toPorts": 20000`, `toPorts: 20000 is a number` + remedy},
		{"list", `"toPorts": ["20000"]`, `toPorts: "[\"20000\"]" is a list` + remedy},
	})
	if got := load(t, in("1024-65535")).Policy.ToPorts; len(got) != 1 || got[0].Size() != 64512 {
		t.Errorf("got %v", got)
	}
}

func TestToPortsMost(t *testing.T) {
	conf := func(addresses, ranges int) string {
		var a, p []string
		for i := range addresses {
			a = append(a, fmt.Sprintf(`"192.0.2.%d"`, i+1), fmt.Sprintf(`"2001:db8::%d"`, i+1))
		}
		for i := range ranges {
			p = append(p, fmt.Sprint(30000+i))
		}
		return `"snatAddresses": [` + strings.Join(a, ",") + `], "toPorts": "` + strings.Join(p, ",") + `"`
	}
	if got := len(load(t, conf(32, 8)).Policy.ToPorts); got != 8 {
		t.Errorf("got %d ranges, want 8", got)
	}
	if got := len(load(t, conf(0, 256)).Policy.ToPorts); got != 256 {
		t.Errorf("got %d ranges, want 256", got)
	}
	checkFaults(t, []faulty{
		{
			"addresses", conf(32, 9),
			`toPorts: "30000,30001,30002,30003,30004,30005,30006,30007,30008" is not valid: 9 ranges for 32 IPv4 addresses make 288 pairs; give fewer addresses or fewer ranges, for at most 256 pairs`,
		},
		{
			"none", conf(0, 257),
			`toPorts: "` + firstPorts() + `..." is not valid: it has 257 ranges; give at most 256`,
		},
	})
}

func firstPorts() string {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, "%d,", 30000+i)
	}
	return b.String()[:120]
}
