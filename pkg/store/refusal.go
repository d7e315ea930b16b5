package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// Refusal says that ADD refused a container because of its pod's annotations. Such an ADD
// leaves no record, and the runtime repeats it with a new container. A pod has one
// refusal, which names the last container.
type Refusal struct {
	masq.Key
	masq.Pod
	// Faults are the faults of the annotations, each with the annotation's name.
	Faults []string  `json:"faults"`
	Time   time.Time `json:"time"`
}

const (
	// maxRefusals limits the number of files: a tenant can make any number of pods.
	maxRefusals = 64
	// refusalAge is how long a refusal is kept after the last attempt. The kubelet repeats
	// ADD every few minutes.
	refusalAge = time.Hour
)

func (r *Records) refusalDir() string { return filepath.Join(filepath.Dir(r.dir), "refused") }

// refusalPath names the file of a pod's interface on a network.
func (r *Records) refusalPath(k masq.Key, p masq.Pod) string {
	k.ContainerID = p.Namespace + "/" + p.Name
	return filepath.Join(r.refusalDir(), r.node+"-"+k.Digest()+".json")
}

// PutRefusal writes a refusal. It replaces the previous refusal of the pod, and removes the
// oldest refusals if there are too many.
func (r *Records) PutRefusal(x Refusal) error {
	b, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("record a refusal: %w", err)
	}
	path := r.refusalPath(x.Key, x.Pod)
	err = writeIn(r.refusalDir(), func() error {
		if err := replace(path, b); err != nil {
			return err
		}
		// Files are sorted by their times, which the kernel sets with the resolution of a
		// timer tick.
		return os.Chtimes(path, x.Time, x.Time)
	})
	if err != nil {
		return fmt.Errorf("record a refusal: %w", err)
	}
	return r.TidyRefusals(x.Time)
}

// DeleteRefusal removes the refusal of a pod, if there is one. ADD calls it when it succeeds.
func (r *Records) DeleteRefusal(k masq.Key, p masq.Pod) error {
	err := os.Remove(r.refusalPath(k, p))
	switch {
	case errors.Is(err, fs.ErrNotExist): // as for almost every pod
		return nil
	case err == nil:
		_ = os.Remove(r.refusalDir()) // fails unless it is empty
	}
	return err
}

// TidyRefusals removes refusals that are too old, and the oldest if there are too many.
func (r *Records) TidyRefusals(now time.Time) error {
	type file struct {
		path string
		at   time.Time
	}
	var files []file
	err := r.eachRefusal(func(path string, info fs.FileInfo) { files = append(files, file{path, info.ModTime()}) })
	slices.SortFunc(files, func(a, b file) int { return b.at.Compare(a.at) })
	errs := []error{err}
	for i, f := range files {
		if i >= maxRefusals || now.Sub(f.at) > refusalAge {
			errs = append(errs, remove(f.path))
		}
	}
	_ = os.Remove(r.refusalDir()) // fails unless it is empty
	return errors.Join(errs...)
}

// Refusals returns the refusals of the last hour, the latest first. It ignores other files.
func (r *Records) Refusals(now time.Time) ([]Refusal, error) {
	var out []Refusal
	err := r.eachRefusal(func(path string, _ fs.FileInfo) {
		if !strings.HasSuffix(path, ".json") { // a temporary file
			return
		}
		var x Refusal
		b, err := safedir.ReadFile(path)
		if err == nil && json.Unmarshal(b, &x) == nil && now.Sub(x.Time) <= refusalAge {
			out = append(out, x)
		}
	})
	slices.SortFunc(out, func(a, b Refusal) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	return out, err
}

func (r *Records) eachRefusal(f func(path string, info fs.FileInfo)) error {
	files, err := r.files(r.refusalDir())
	if err != nil {
		return err
	}
	for _, e := range files {
		if !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil {
			f(filepath.Join(r.refusalDir(), e.Name()), info)
		}
	}
	return nil
}
