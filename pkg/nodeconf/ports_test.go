package nodeconf

import (
	"fmt"
	"strings"
	"testing"
)

func TestToPorts(t *testing.T) {
	for text, want := range map[string]string{
		`""`: "", "20000-29999": "20000-29999", `"1024"`: "1024-1024", "1024-29999, 32768-65535": "1024-29999,32768-65535",
	} {
		if got := portsText(load(t, "toPorts: "+text).Policy.ToPorts); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
	const remedy = "; give FIRST-LAST within 1024-65535, several separated by commas"
	checkFaults(t, []faulty{
		{"number", "toPorts: 20000", "f:1:10: toPorts: 20000 is a number" + remedy},
		{"list", "toPorts: [20000-29999]", `f:1:10: toPorts: "[\"20000-29999\"]" is a list` + remedy},
		{"null", "toPorts:", "f:1:9: toPorts: null is not allowed here" + remedy},
		{"reversed", "toPorts: 30000-20000", `f:1:10: toPorts: "30000-20000" is not valid: "30000-20000" is reversed: 30000 is above 20000` + remedy},
		{"privileged", "toPorts: 1000-2000", `f:1:10: toPorts: "1000-2000" is not valid: "1000-2000" has privileged ports, those below 1024; give ports of 1024-65535`},
		{"date", "toPorts: 2001-01-01", `f:1:10: toPorts: "2001-01-01" is not valid: "2001-01-01" is not a port range such as "20000-29999"` + remedy},
		{
			"several", "toPorts: 0-1,3000-4000,3500", `f:1:10: toPorts: "0-1,3000-4000,3500" is not valid: "0-1": port 0 is not within 1-65535` + remedy + `
f:1:10: toPorts: "0-1,3000-4000,3500" is not valid: "3500" overlaps "3000-4000"` + remedy,
		},
		{"257", "toPorts: '" + strings.Repeat(",", 256) + "'", `f:1:10: toPorts: "` + strings.Repeat(",", 120) + `..." is not valid: it has 257 ranges; give at most 256`},
	})
}

func TestPairs(t *testing.T) {
	config := func(addresses, ranges int) string {
		var a, r []string
		for i := range addresses {
			a = append(a, fmt.Sprintf("192.0.2.%d, 2001:db8::%d", i, i))
		}
		for i := range ranges {
			r = append(r, fmt.Sprint(20000+i))
		}
		return "snatAddresses: [" + strings.Join(a, ", ") + "]\ntoPorts: '" + strings.Join(r, ",") + "'\n"
	}
	load(t, config(32, 8)) // 32 of each family
	_, err := Parse("f", []byte(config(32, 9)))
	wantFaults(t, err, `f:2:10: toPorts: "20000,20001,20002,20003,20004,20005,20006,20007,20008" is not valid: 9 ranges for 32 IPv4 addresses make 288 pairs; give fewer addresses or fewer ranges, for at most 256 pairs`)
}
