package cnidir

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/golden"
)

const plainEntry = `{"type":"masq","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`

func entry(t testing.TB, given string) json.RawMessage {
	t.Helper()
	e, err := Entry([]byte(given))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func parsed(t testing.TB, text []byte) *list {
	t.Helper()
	l, err := parseList(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return l
}

func types(l *list) (out []string) {
	for _, p := range l.conf.Plugins {
		out = append(out, p.Network.Type)
	}
	return out
}

// TestRealLists inserts masq into lists of CNI plugins and runtimes, and removes it again.
func TestRealLists(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conflist")
	if err != nil || len(files) != 6 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		before, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		l := parsed(t, before)
		after, err := l.insert(entry(t, ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		golden.Compare(t, strings.TrimSuffix(name, "conflist")+"golden", after)
		chained := parsed(t, after)
		if want := slices.Insert(types(l), 1, Plugin); !slices.Equal(types(chained), want) {
			t.Errorf("%s: the plugins are %v, want %v", name, types(chained), want)
		}
		if again, err := chained.remove(chained.masqIndexes()...); err != nil || !bytes.Equal(again, before) {
			t.Errorf("%s, %v: without masq the list is\n%s", name, err, again)
		}
	}
}

func TestListWithOneLine(t *testing.T) {
	for before, want := range map[string]string{
		`{"name":"a","plugins":[{"type":"x"}]}`:                  `{"name":"a","plugins":[{"type":"x"},` + plainEntry + `]}`,
		`{"name":"a","plugins": [ {"type":"x"} , {"type":"y"}]}`: `{"name":"a","plugins": [ {"type":"x"}, ` + plainEntry + ` , {"type":"y"}]}`,
		// An escaped key, and an inner key with the same name.
		`{"name":"a","x":{"plugins":[]},"pl\u0075gins":[{"plugins":[1,2],"type":"x"}]}`: `{"name":"a","x":{"plugins":[]},"pl\u0075gins":[{"plugins":[1,2],"type":"x"},` + plainEntry + `]}`,
	} {
		got, err := parsed(t, []byte(before)).insert(entry(t, ""))
		if err != nil || string(got) != want {
			t.Errorf("%s, %v: the list is now\n%s", before, err, got)
		}
	}
}

func TestReplaced(t *testing.T) {
	const before = "{\"name\":\"a\",\"plugins\":[\n    {\"type\":\"x\"},\n    {\"type\": \"masq\", \"mtu\": 1400},\n    {\"type\":\"y\"}]}"
	got, err := parsed(t, []byte(before)).replace(1, entry(t, `{"toPorts": "20000-29999"}`))
	want := strings.Replace(before, `{"type": "masq", "mtu": 1400}`, `{
      "type": "masq",
      "capabilities": {
        "io.kubernetes.cri.pod-annotations": true
      },
      "toPorts": "20000-29999"
    }`, 1)
	if err != nil || string(got) != want {
		t.Errorf("%v: the list is now\n%s", err, got)
	}
}

// Lists that libcni accepts and readers would misread, and lists that cannot be changed in
// place.
func TestRefusedLists(t *testing.T) {
	for text, want := range map[string]string{
		`{"name":"a","plugins":[{"type":"x"}],"plugins":[{"type":"y"}]}`: `"plugins" is given twice`,
		`{"plugins":[{"type":"x"}]}`:                                     "no name",
		`{"name":"a","plugins":[]}`:                                      "no plugins",
		`{"name":"a","plugins":[{"type":"x"}]} {}`:                       "invalid character",
		`[]`: "cannot unmarshal",
		``:   "unexpected end",
	} {
		if l, err := parseList([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", text, l, err)
		}
	}
	if _, err := parsed(t, []byte(`{"name":"a"}`)).insert(entry(t, "")); !errors.Is(err, errNotInline) {
		t.Errorf("plugins in separate files: %v", err)
	}
}

// check refuses a text in which anything but masq differs: such a change could take a node
// off the network.
func TestCheckRefusesOtherChanges(t *testing.T) {
	l := parsed(t, []byte(`{"name":"a","plugins":[{"type":"x","n":1}]}`))
	for _, text := range []string{
		`{"name":"b","plugins":[{"type":"x","n":1}]}`,
		`{"name":"a","plugins":[{"type":"x","n":2}]}`,
		`{"name":"a","plugins":[{"type":"x","n":1.0}]}`,
		`{"name":"a","plugins":[{"type":"x"},{"type":"masq"}]}`,
		`{"name":"a","plugins":[{"type":"x","n":1},{"type":"y"}]}`,
		`{"name":"a","plugins":[{"type":"masq"}]}`,
		`{"name":"a","plugins":[{"type":"x","n":1},{}]}`,
	} {
		if _, err := l.check([]byte(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	if _, err := l.check([]byte(`{"name":"a","plugins":[{"type":"x","n":1},{"type":"masq"}]}`)); err != nil {
		t.Error(err)
	}
}

// FuzzInsert: an inserted entry can be removed, to the byte, and nothing else differs in
// between.
func FuzzInsert(f *testing.F) {
	for _, name := range []string{"flannel", "kindnet", "calico", "cilium", "containerd-bridge", "containerd-ptp"} {
		text, err := os.ReadFile("testdata/" + name + ".conflist")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		`{"name":"a","plugins":[{"type":"x"},{"Type":"masq"},{"type":"masq","n":1e9}]}`,
		`{"name":"a","plugins":[{"type":"x","type":"masq"}],"cniVersions":["0.4.0"],"x":{"plugins":[]}}`,
		"{\"pl\\u0075gins\"\r\n:\r\n[\r\n{\"type\":\"\xff\"}\r\n,\t{\"type\":\"y\"}],\"name\":\"\"}",
		`{"name":"a","plugins":[[]]}`, `{"name":"a","plugins":null}`, `{"name":"a"}`,
	} {
		f.Add([]byte(text))
	}
	e := entry(f, `{"toPorts": "20000-29999"}`)
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseList(text)
		if err != nil || len(l.at) == 0 {
			return
		}
		others, err := l.otherKeys()
		if err != nil {
			t.Fatal(err)
		}
		after, err := l.insert(e)
		if err != nil {
			t.Fatalf("%v\n%q", err, text)
		}
		chained := parsed(t, after)
		if rest, err := chained.otherKeys(); err != nil || !reflect.DeepEqual(rest, others) {
			t.Fatalf("%v: something else differs:\n%q\n%q", err, text, after)
		}
		if !sameJSON(chained.entryAt(1), e) {
			t.Fatalf("the second plugin is not masq:\n%q", after)
		}
		if back, err := chained.remove(1); err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%v: after the removal the list is\n%q\nwant\n%q", err, back, text)
		}
		ours := slices.DeleteFunc(l.masqIndexes(), func(i int) bool { return i == 0 })
		bare, err := l.remove(ours...)
		if err != nil {
			t.Fatal(err)
		}
		if left := parsed(t, bare).masqIndexes(); len(left) > 1 || len(left) == 1 && left[0] != 0 {
			t.Fatalf("masq remains in\n%q", bare)
		}
	})
}
