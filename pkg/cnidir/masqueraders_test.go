package cnidir

import (
	"os"
	"strings"
	"testing"
)

// The warning names the network that masquerades too, and how to turn that off.
func TestMasqueradeWarning(t *testing.T) {
	for list, want := range map[string]string{
		`{"name":"a","plugins":[{"type":"ptp","ipMasq":true}]}`:                           "ipMasq",
		`{"name":"a","plugins":[{"type":"flannel","delegate":{"ipMasq":true}}]}`:          `"ipMasq": true`,
		`{"name":"a","plugins":[{"type":"flannel"}]}`:                                     "--ip-masq",
		`{"name":"a","plugins":[{"type":"flannel","delegate":{"ipMasq":false}}]}`:         "--ip-masq",
		`{"name":"kindnet","plugins":[{"type":"cni-kindnet"}]}`:                           "--masquerading=false",
		`{"name":"a","plugins":[{"type":"aws-cni"},{"type":"egress-cni"}]}`:               "AWS_VPC_K8S_CNI_EXTERNALSNAT",
		`{"name":"a","plugins":[{"type":"bridge","bridge":"kube-bridge"}]}`:               "--enable-pod-egress=false",
		`{"name":"a","plugins":[{"type":"bridge","bridge":"kube-bridge","ipMasq":true}]}`: `"ipMasq": true`,
		`{"name":"a","plugins":[{"type":"ptp","ipMasq":false}]}`:                          "",
		`{"name":"a","plugins":[{"type":"bridge"}]}`:                                      "",
		`{"name":"a","plugins":[{"type":"masq","ipMasq":true}]}`:                          "",
		`{"name":"kindnet","plugins":[{"type":"masq"}]}`:                                  "",
		`{"name":"a","plugins":[{"type":"odd","ipMasq":"yes","delegate":"them"}]}`:        "",
		`{"name":"a","plugins":[{"type":"ptp"},{"type":"flannel"},{"type":"calico"}]}`:    "",
		textOf(t, "flannel"): "--ip-masq",
		textOf(t, "kindnet"): "--masquerading=false",
		textOf(t, "calico"):  "natOutgoing",
		textOf(t, "cilium"):  "enable-ipv4-masquerade",
	} {
		got := parsed(t, []byte(list)).masqueradeWarning()
		if (got == "") != (want == "") || !strings.Contains(got, want) || want != "" && !strings.Contains(got, "masquerades too") {
			t.Errorf("%s: %q, want %q", list, got, want)
		}
	}
}

func textOf(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".conflist")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
