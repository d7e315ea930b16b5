package nodeconf

import "testing"

func TestMSSClamp(t *testing.T) {
	for text, want := range map[string]string{
		"pmtu": "pmtu", "off": "off", `"off"`: "off", "48": "48", "1360": "1360", "65495": "65495",
	} {
		if got := load(t, "mssClamp: "+text).Policy.MSSClamp.String(); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
	const remedy = `; give "pmtu", "off" or 48-65495`
	checkFaults(t, []faulty{
		{"word", "mssClamp: on", `f:1:11: mssClamp: "on" is neither "pmtu" nor "off"` + remedy},
		{"text", `mssClamp: "1360"`, `f:1:11: mssClamp: "1360" is neither "pmtu" nor "off"` + remedy},
		{"small", "mssClamp: 47", "f:1:11: mssClamp: 47 is not a number of bytes within 48-65495" + remedy},
		{"large", "mssClamp: 65496", "f:1:11: mssClamp: 65496 is not a number of bytes within 48-65495" + remedy},
		{"float", "mssClamp: 1360.0", "f:1:11: mssClamp: 1360.0 is not a number of bytes within 48-65495" + remedy},
		{"infinite", "mssClamp: .inf", "f:1:11: mssClamp: .inf is not a number of bytes within 48-65495" + remedy},
		{"boolean", `{"mssClamp": false}`, "f:1:14: mssClamp: false is a boolean" + remedy},
		{"null", "mssClamp: null", "f:1:11: mssClamp: null is not allowed here" + remedy},
	})
}
