package store

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// A record as version 1 writes it. Records on the disk of a running node must stay readable.
const version1 = `{"version":1,"network":"net","containerID":"c1","interface":"eth0","podNamespace":"shop","podName":"cart","podUID":"u1",` +
	`"addresses":["10.88.0.5","fd00:88::5"],"policy":{"nonMasqueradeCIDRs":["10.0.0.0/8"],"toPorts":["20000-20999"],"randomFully":true,"mssClamp":"off",` +
	`"helpers":[{"name":"ftp","ports":[21]}],"dropInvalid":true},"spoofCheck":true,"ready":true,"chained":true,"links":["veth0"],"netns":"/run/netns/x","cniPath":"/opt/cni/bin:/usr/lib/cni","ipam":"host-local",` +
	`"mtu":1500,"hostMAC":"02:00:00:00:00:01","prefixes":["10.88.0.5/16"],"routes":[{"dst":"0.0.0.0/0","gw":"10.88.0.1"}],` +
	`"replaced":[{"network":"net","containerID":"c0","interface":"eth0"}],"evidence":{"boot":"b1","links":[{"name":"veth0","index":7}]},"created":"2026-01-02T03:04:05.000000006Z"}`

func TestRecordOfVersion1(t *testing.T) {
	got, err := parse([]byte(version1))
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var a, b map[string]any
	if json.Unmarshal([]byte(version1), &a) != nil || json.Unmarshal(again, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got\n%s\nwant\n%s", again, version1)
	}
	if got.Pod != (masq.Pod{Namespace: "shop", Name: "cart", UID: "u1"}) || got.Addresses[1] != netip.MustParseAddr("fd00:88::5") || !got.Created.Equal(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)) {
		t.Errorf("got %+v", got)
	}
}
