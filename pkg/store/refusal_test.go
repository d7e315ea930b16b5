package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func refused(pod, container string, at time.Time) Refusal {
	return Refusal{
		Key: masq.Key{Network: "net", ContainerID: container, Interface: "eth0"}, Pod: masq.Pod{Namespace: "ns", Name: pod},
		Faults: []string{"masq-cni.dev/egress: \"direct\" is refused"}, Time: at,
	}
}

// A pod has one refusal, however often the runtime repeats ADD, and none after a successful
// ADD.
func TestRefusals(t *testing.T) {
	state := t.TempDir()
	r := open(t, state)
	now := time.Now()
	put := func(x Refusal) {
		t.Helper()
		if err := r.PutRefusal(x); err != nil {
			t.Fatal(err)
		}
	}
	want := func(names ...string) {
		t.Helper()
		all, err := r.Refusals(now)
		var got []string
		for _, x := range all {
			got = append(got, x.Name+x.ContainerID)
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(names) {
			t.Fatalf("got %v, %v; want %v", got, err, names)
		}
	}
	want()
	put(refused("a", "1", now.Add(-3*time.Minute)))
	put(refused("a", "2", now.Add(-2*time.Minute)))
	put(refused("b", "3", now.Add(-time.Minute)))
	put(refused("c", "4", now))
	want("c4", "b3", "a2")
	if err := r.DeleteRefusal(refused("a", "5", now).Key, masq.Pod{Namespace: "ns", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	want("c4", "b3")
	// Other files are ignored.
	if err := os.WriteFile(r.refusalPath(masq.Key{Network: "x"}, masq.Pod{}), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("c4", "b3")
	// A writer that was killed leaves a temporary file.
	path := r.refusalPath(refused("b", "3", now).Key, masq.Pod{Namespace: "ns", Name: "b"})
	if b, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(strings.TrimSuffix(path, ".json")+".tmp", b, 0o600); err != nil {
		t.Fatal(err)
	}
	want("c4", "b3")
	// After an hour a refusal is no longer returned. TidyRefusals removes it.
	now = now.Add(refusalAge + time.Second)
	want()
	if err := r.TidyRefusals(time.Now().Add(refusalAge + time.Minute)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(state, "refused*")); len(left) != 0 {
		t.Errorf("files remain: %v", left)
	}
}

// A tenant makes many pods, and the node keeps at most maxRefusals files.
func TestRefusalsAreBounded(t *testing.T) {
	r := open(t, t.TempDir())
	now := time.Now()
	for i := range maxRefusals + 20 {
		if err := r.PutRefusal(refused(fmt.Sprint("p", i), "c", now.Add(time.Duration(i)))); err != nil {
			t.Fatal(err)
		}
	}
	all, err := r.Refusals(now)
	if err != nil || len(all) != maxRefusals || all[0].Name != fmt.Sprint("p", maxRefusals+19) {
		t.Errorf("got %d, %v, the latest of %q", len(all), err, all[0].Name)
	}
}

func TestNATLogMark(t *testing.T) {
	r := open(t, t.TempDir())
	is := func(want bool) {
		t.Helper()
		if got, err := r.HasNATLog(); got != want || err != nil {
			t.Errorf("got %t, %v; want %t", got, err, want)
		}
	}
	is(false)
	for _, kept := range []bool{true, true, false, false, true} {
		if err := r.MarkNATLog(kept); err != nil {
			t.Fatal(err)
		}
		is(kept)
	}
	if err := r.DeleteAll(); err != nil {
		t.Fatal(err)
	}
	is(false)
}
