package cniconf

import (
	"reflect"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestValidAttachments(t *testing.T) {
	const one, two = `{"containerID": "c1", "ifname": "eth0"}`, `{"containerID": "c2", "ifname": "eth1"}`
	c1, c2 := types.GCAttachment{ContainerID: "c1", IfName: "eth0"}, types.GCAttachment{ContainerID: "c2", IfName: "eth1"}
	for members, want := range map[string][]types.GCAttachment{
		``: nil,
		`"cni.dev/valid-attachments": null, "cni.dev/attachments": null`:                               {}, // libcni without valid attachments
		`"cni.dev/valid-attachments": []`:                                                              {},
		`"cni.dev/attachments": [` + two + `]`:                                                         {c2},
		`"cni.dev/valid-attachments": [` + one + `,` + one + `]`:                                       {c1},
		`"cni.dev/attachments": [` + two + `,` + one + `], "cni.dev/valid-attachments": [` + one + `]`: {c1, c2},
	} {
		if got := load(t, members).ValidAttachments; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", members, got, want)
		}
	}
}

func TestValidAttachmentsFaults(t *testing.T) {
	const remedy = `; give a list such as [{"containerID": "c1", "ifname": "eth0"}]`
	for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
		checkFaults(t, []faulty{
			{key + " type", `"` + key + `": {}`, key + `: "{}" is an object` + remedy},
			{key + " element", `"` + key + `": ["c1"]`, key + `: "c1" is not an attachment` + remedy},
			{key + " incomplete", `"` + key + `": [{"containerID": "c1"}]`, key + `: "{\"containerID\":\"c1\"}" lacks containerID or ifname` + remedy},
			{key + " null", `"` + key + `": [null]`, key + `: null lacks containerID or ifname` + remedy},
		})
	}
}
