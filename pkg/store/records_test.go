package store

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func record(id string) Record {
	p := masq.Default()
	p.ToPorts = []masq.PortRange{{First: 20000, Last: 20999}}
	p.MSSClamp = masq.ClampOff
	return Record{
		Version: Version,
		Attachment: masq.Attachment{
			Key:       masq.Key{Network: "net", ContainerID: id, Interface: "eth0"},
			Pod:       masq.Pod{Namespace: "ns", Name: "name", UID: "uid"},
			Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("fd00:88::5")},
			Policy:    &p, SpoofCheck: true,
		},
		NetNS: "/run/netns/x", IPAM: "host-local", MTU: 1500, Ready: true,
		Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
}

func open(t testing.TB, dir string) *Records {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPutGetDelete(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "state"))
	want := record("a")
	if _, found, err := r.Get(want.Key); found || err != nil {
		t.Fatalf("in an empty directory: found %t, %v", found, err)
	}
	if err := r.Put(want); err != nil {
		t.Fatal(err)
	}
	got, found, err := r.Get(want.Key)
	if err != nil || !found || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %t, %v\nwant %+v", got, found, err, want)
	}
	for range 2 {
		if err := r.Delete(want.Key); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(r.Dir()); err != nil || len(left) != 0 {
		t.Errorf("files remain: %v, %v", left, err)
	}
}

func TestAllWithUnreadableRecords(t *testing.T) {
	r := open(t, t.TempDir())
	for _, id := range []string{"a", "b"} {
		if err := r.Put(record(id)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(id, text string) {
		t.Helper()
		path := r.path(masq.Key{Network: "net", ContainerID: id, Interface: "eth0"})
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("newer", `{"version": 2, "network": {"of": "another shape"}}`)
	write("torn", `{"version": 1, "network": "n`)
	write("hostile", `{"version": 1, "network": "net", "containerID": "x", "interface": "eth0", "policy": {"nonMasqueradeCIDRs": ["10.0.0.1/8"]}}`)
	all, err := r.All()
	if len(all) != 2 {
		t.Errorf("got %d records", len(all))
	}
	if !errors.Is(err, ErrNewer) || len(strings.Split(err.Error(), "\n")) != 3 {
		t.Errorf("got %v", err)
	}
	// An unreadable record can be replaced.
	if err := r.Put(record("torn")); err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.Get(record("torn").Key); !found || err != nil {
		t.Errorf("found %t, %v", found, err)
	}
}

// Records are found by their addresses, sorted. Faults of other records do not matter.
func TestWithAddresses(t *testing.T) {
	r := open(t, t.TempDir())
	first, second, other := record("a"), record("b"), record("c")
	second.Created = first.Created.Add(time.Second)
	other.Addresses = []netip.Addr{netip.MustParseAddr("10.88.0.50")}
	other.Policy.SNATAddresses = first.Addresses[:1] // the text has the address
	for _, rec := range []Record{second, other, first} {
		if err := r.Put(rec); err != nil {
			t.Fatal(err)
		}
	}
	torn := r.path(masq.Key{Network: "net", ContainerID: "torn", Interface: "eth0"})
	for text, fault := range map[string]bool{`{"version": 1, "netw`: false, `{"addresses": ["10.88.0.5"], "netw`: true} {
		if err := os.WriteFile(torn, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for addrs, want := range map[string][]Record{
			"10.88.0.5": {first, second}, "10.88.0.5 fd00:88::5": {first, second}, "198.51.100.1 10.88.0.50": {other}, "10.88.0.500 ::": nil, "": nil,
		} {
			var of []netip.Addr
			for s := range strings.FieldsSeq(addrs) {
				a, _ := netip.ParseAddr(s)
				of = append(of, a)
			}
			got, err := r.WithAddresses(of...)
			if (err != nil) != (fault && slices.Contains(strings.Fields(addrs), "10.88.0.5")) {
				t.Errorf("%q: %v", addrs, err)
			}
			if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
				t.Errorf("%q: got %+v\nwant %+v", addrs, got, want)
			}
		}
	}
}

func TestKilledWriter(t *testing.T) {
	r := open(t, t.TempDir())
	a := record("a")
	if err := r.Put(a); err != nil {
		t.Fatal(err)
	}
	tmp := strings.TrimSuffix(r.path(a.Key), ".json") + ".tmp"
	if err := os.WriteFile(tmp, []byte(`{"version": 1, "netw`), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := r.All(); len(all) != 1 || err != nil {
		t.Errorf("got %v, %v", all, err)
	}
	if err := r.Delete(a.Key); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(r.Dir()); len(left) != 0 {
		t.Errorf("files remain: %v", left)
	}
}

// Two nodes share a directory and do not see each other's records.
func TestNodesShareADirectory(t *testing.T) {
	dir := t.TempDir()
	here := open(t, dir)
	if err := here.Put(record("a")); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the thread ends with the test, and with it the namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v: this test needs root", err)
	}
	there := open(t, dir)
	if all, err := there.All(); len(all) != 0 || err != nil {
		t.Errorf("the other node sees %v, %v", all, err)
	}
	if err := there.Delete(record("a").Key); err != nil {
		t.Fatal(err)
	}
	if _, found, err := here.Get(record("a").Key); !found || err != nil {
		t.Errorf("found %t, %v", found, err)
	}
}

func TestReadersSeeWholeRecords(t *testing.T) {
	r := open(t, t.TempDir())
	if err := r.Put(record("a")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := r.Put(record("a")); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range 500 {
		if _, found, err := r.Get(record("a").Key); !found || err != nil {
			t.Errorf("found %t, %v", found, err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"network":"n","containerID":"c","interface":"eth0","addresses":["10.0.0.1"],"policy":{"randomFully":true,"mssClamp":"pmtu","dropInvalid":true}}`))
	f.Add([]byte(`{"version":-1,"policy":{"toPorts":["1-2"],"helpers":[{"name":"ftp","ports":[21]}]}}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			return
		}
		if r.Policy != nil {
			_ = r.Policy.ID()
		}
	})
}

// Tidy removes old temporary files without a record, and nothing else.
func TestTidy(t *testing.T) {
	r, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Put(Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}}}); err != nil {
		t.Fatal(err)
	}
	names := func() (out []string) {
		entries, err := os.ReadDir(r.Dir())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	record := names()[0]
	write := func(name string, age time.Duration) {
		path := filepath.Join(r.Dir(), name)
		at := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, []byte("{"), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.TrimSuffix(record, ".json")+".tmp", time.Hour) // Delete removes it with its record
	write(r.node+"-old.tmp", time.Hour)
	write(r.node+"-new.tmp", 0)
	write("f00-another.tmp", time.Hour)
	write("notes", time.Hour)
	before := names()
	if err := r.Tidy(time.Minute); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(before, func(n string) bool { return n == r.node+"-old.tmp" })
	if after := names(); len(after) != 5 || !slices.Equal(after, want) {
		t.Errorf("files remain: %q", after)
	}
}
