package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ReadError distinguishes a file that is not a record, a record of a newer version, and a
// file that cannot be read.
func TestReadErrors(t *testing.T) {
	r := open(t, t.TempDir())
	spoil := map[string]func(path string) error{
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"truncated": func(path string) error { return os.Truncate(path, 100) },
		"garbage":   func(path string) error { return os.WriteFile(path, []byte("\x00\xff{"), 0o600) },
		"another's": func(path string) error {
			b, err := os.ReadFile(r.path(record("good").Key))
			return errors.Join(err, os.WriteFile(path, b, 0o600))
		},
		"newer":     func(path string) error { return os.WriteFile(path, []byte(`{"version":99}`), 0o600) },
		"directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	}
	if err := r.Put(record("good")); err != nil {
		t.Fatal(err)
	}
	for id, f := range spoil {
		if err := errors.Join(r.Put(record(id)), f(r.path(record(id).Key))); err != nil {
			t.Fatal(err)
		}
	}
	all, err := r.All()
	if len(all) != 1 || all[0].ContainerID != "good" {
		t.Errorf("got %d records", len(all))
	}
	found := map[string]*ReadError{}
	for _, e := range ReadErrors(err) {
		found[e.Digest()] = e
		if !strings.Contains(e.Error(), e.Path) {
			t.Errorf("%v does not name %s", e, e.Path)
		}
	}
	for id := range spoil {
		e := found[record(id).Digest()]
		if e == nil || e.Path != r.path(record(id).Key) || e.Damaged != (id != "newer" && id != "directory") {
			t.Errorf("%s: %+v", id, e)
		}
	}
	if len(found) != len(spoil) || len(ReadErrors(nil)) != 0 || len(ReadErrors(os.ErrPermission)) != 0 {
		t.Errorf("%d errors", len(found))
	}
	if err := os.Remove(r.path(record("directory").Key)); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteAll(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(r.dir); err != nil || len(left) > 0 {
		t.Errorf("files remain: %v, %v", left, err)
	}
}

// Replace keeps the damaged file, and Delete removes it with the record.
func TestReplace(t *testing.T) {
	r := open(t, t.TempDir())
	rec := record("x")
	path := r.path(rec.Key)
	if err := errors.Join(r.Put(rec), os.WriteFile(path, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.Get(rec.Key)
	damaged, ok := errors.AsType[*ReadError](err)
	if !ok {
		t.Fatal(err)
	}
	if _, err := r.Replace(damaged, record("y")); err == nil {
		t.Error("the record of another attachment replaced it")
	}
	for range 2 {
		kept, err := r.Replace(damaged, rec)
		if err != nil || filepath.Ext(kept) != ".bad" {
			t.Fatalf("%s, %v", kept, err)
		}
		if got, _, err := r.Get(rec.Key); err != nil || got.Identity() != rec.Identity() {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if all, err := r.Damaged(); err != nil || len(all) != 1 {
		t.Errorf("%q, %v", all, err)
	}
	if err := r.Delete(rec.Key); err != nil {
		t.Fatal(err)
	}
	if all, err := r.Damaged(); err != nil || len(all) != 0 {
		t.Errorf("%q, %v", all, err)
	}
}
