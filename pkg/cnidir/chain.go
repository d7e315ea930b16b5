package cnidir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// Where runtimes look for networks and for plugins unless they are told otherwise.
const (
	DefaultConfDir = "/etc/cni/net.d"
	DefaultBinDir  = "/opt/cni/bin"
)

// settled is how old a file has to be that cannot be read before it counts as one that
// stays so: a program may be at writing it.
const settled = 2 * time.Second

var (
	// ErrNone says that there is no network that masq could be chained in.
	ErrNone = errors.New("there is no network configuration that masq could be put into; install the CNI plugin of the network first, or give --mode network")
	// ErrUnsettled says that a look a moment later may find something else.
	ErrUnsettled = errors.New("a file is being written")
)

// Action is what was done to a file, in the words of the log.
type Action string

// The actions.
const (
	Inserted       Action = "masq inserted"          // into the list that is used
	Replaced       Action = "entry of masq replaced" // in that list; the note is the entry before
	ListWritten    Action = "list with masq written" // the note is the file that it was made from
	ListRemoved    Action = "list of masq-cni removed"
	TakenOut       Action = "masq taken out" // from a list that is not used
	NetworkWritten Action = "network of masq written"
)

// Change is one that was made.
type Change struct {
	What Action
	Path string
	Note string // more of it, if any
}

// Look is what was found in a directory, and what was done.
type Look struct {
	Changes []Change
	// Warnings are what a person should look after.
	Warnings []string
}

func (l *Look) did(what Action, path, note string) {
	l.Changes = append(l.Changes, Change{what, path, note})
}

func (l *Look) warn(path, format string, args ...any) {
	l.Warnings = append(l.Warnings, path+": "+fmt.Sprintf(format, args...))
}

// Chain puts the entry behind the first plugin of the network that the runtime uses,
// and takes it out of others.
func Chain(ctx context.Context, confDir string, entry json.RawMessage) (look Look, err error) {
	d, err := take(ctx, confDir)
	if errors.Is(err, fs.ErrNotExist) {
		return look, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if err != nil {
		return look, err
	}
	defer d.release()
	files, err := d.readAll()
	if err != nil {
		return look, err
	}
	used, err := look.choose(files)
	if errors.Is(err, ErrNone) {
		return look, errors.Join(err, d.orphans(&look, files))
	}
	if err != nil {
		return look, err
	}
	madeOf, err := d.chain(&look, used, entry)
	if errors.Is(err, safedir.ErrChanged) {
		return look, fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	if err != nil {
		return look, fmt.Errorf("%s: %w", used.path, err)
	}
	// Last, so that there is no moment without masq.
	return look, d.clear(&look, files, entry, func(f *file) bool { return f == used || f.name == madeOf })
}

// orphans removes lists whose file is gone: the network is no longer wanted.
func (d *dir) orphans(look *Look, files []*file) error {
	var errs []error
	for _, f := range files {
		if f.made != "" && f.made != fromRanges {
			errs = append(errs, d.drop(look, f))
		}
	}
	return errors.Join(errs...)
}

// choose returns the file that the runtime uses, or would if the lists made here were
// not there.
func (l *Look) choose(files []*file) (*file, error) {
	for _, f := range files {
		switch {
		case f.made != "":
		case f.fault == nil:
			return f, nil
		case f.age().Abs() < settled:
			return nil, fmt.Errorf("%w: %s: %w", ErrUnsettled, f.path, f.fault)
		default:
			l.warn(f.path, "%v; containerd uses no network while this file stands before the others", f.fault)
		}
	}
	return nil, ErrNone
}

// chain puts masq into what a file asks for, and returns the name of the list that was
// made of it, if one was.
func (d *dir) chain(look *Look, f *file, entry json.RawMessage) (made string, err error) {
	if f.single != nil {
		if f.single.Network.Type == Plugin {
			return "", nil // it makes the link itself
		}
		text, err := listOf(f, entry)
		if err != nil {
			return "", err
		}
		made = nameBefore(f.name)
		changed, err := d.write(made, text)
		if changed {
			look.did(ListWritten, filepath.Join(d.path, made), "made from "+f.name)
		}
		if l, err := parseList(text); err == nil {
			look.warnOfSecond(f, l)
		}
		return made, err
	}
	look.warnOfSecond(f, f.list)
	ours := f.list.ours()
	var (
		text []byte
		what = Inserted
		note string
	)
	switch {
	case len(ours) > 1:
		return "", fmt.Errorf("masq is in its plugins %d times; leave one", len(ours))
	case len(ours) == 0:
		text, err = f.list.inserted(entry)
	case ours[0] == 0:
		return "", nil // it makes the link itself
	case same(f.list.entryAt(ours[0]), entry):
		return "", nil
	default:
		what, note = Replaced, "it was "+masq.Clip(string(f.list.entryAt(ours[0])))
		text, err = f.list.replaced(ours[0], entry)
	}
	if err != nil {
		return "", err
	}
	if f.isLink() {
		return "", errors.New("is a symbolic link, which would be lost; put a file there instead")
	}
	if err := d.rewrite(f, text); err != nil {
		return "", err
	}
	look.did(what, f.path, note)
	return "", nil
}

func (l *Look) warnOfSecond(f *file, list *list) {
	if w := list.secondMasquerade(); w != "" {
		l.warn(f.path, "%s", w)
	}
}

// clear takes out what earlier looks have put into files that are not to have it: an
// entry that says just the same is theirs.
func (d *dir) clear(look *Look, files []*file, entry json.RawMessage, keep func(*file) bool) error {
	var errs []error
	for _, f := range files {
		switch {
		case keep(f):
		case f.made != "":
			errs = append(errs, d.drop(look, f))
		case f.list != nil && entry != nil && !f.isLink():
			errs = append(errs, d.takeOut(look, f, func(text []byte) bool { return same(text, entry) }))
		}
	}
	return errors.Join(errs...)
}

// drop removes a list of our own.
func (d *dir) drop(look *Look, f *file) error {
	if err := d.remove(f.name); err != nil {
		return err
	}
	look.did(ListRemoved, f.path, "")
	return nil
}

// takeOut takes entries of masq behind the first plugin out of a list.
func (d *dir) takeOut(look *Look, f *file, which func(text []byte) bool) error {
	ours := slices.DeleteFunc(f.list.ours(), func(i int) bool {
		return i == 0 || !which(f.list.entryAt(i))
	})
	if len(ours) == 0 {
		return nil
	}
	text, err := f.list.removed(ours...)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if err := d.rewrite(f, text); err != nil {
		return err
	}
	look.did(TakenOut, f.path, "")
	return nil
}

// Write writes a list of a network of our own under this name, and takes the entry
// that chains masq, if there is one, out of others.
func (n Network) Write(ctx context.Context, confDir, name string, entry json.RawMessage) (look Look, err error) {
	text, err := n.text()
	if err != nil {
		return look, err
	}
	d, err := take(ctx, confDir)
	if err != nil {
		return look, err
	}
	defer d.release()
	files, err := d.readAll()
	if err != nil {
		return look, err
	}
	path := filepath.Join(confDir, name)
	for _, f := range files {
		switch {
		case f.name == name && f.made == "" && !errors.Is(f.fault, fs.ErrNotExist):
			return look, fmt.Errorf("%s is not one that was written here; move it away, or give --conf-name another name", path)
		case f.name < name && f.made == "":
			look.warn(f.path, "stands before %s: it is the one that the runtime uses", name)
		}
	}
	changed, err := d.write(name, text)
	if err != nil {
		return look, err
	}
	if changed {
		look.did(NetworkWritten, path, "")
	}
	return look, d.clear(&look, files, entry, func(f *file) bool { return f.name == name })
}

// Remove takes masq out of all lists, and removes those of our own. In is what still
// runs masq, because somebody made masq its first plugin.
func Remove(ctx context.Context, confDir string) (look Look, in []string, err error) {
	d, err := take(ctx, confDir)
	if errors.Is(err, fs.ErrNotExist) {
		return look, nil, nil
	}
	if err != nil {
		return look, nil, err
	}
	defer d.release()
	files, err := d.readAll()
	if err != nil {
		return look, nil, err
	}
	var errs []error
	for _, f := range files {
		switch {
		case f.made != "":
			errs = append(errs, d.drop(&look, f))
		case f.isLink() && f.runs():
			in = append(in, f.path)
		case f.list != nil:
			errs = append(errs, d.takeOut(&look, f, func([]byte) bool { return true }))
			if slices.Contains(f.list.ours(), 0) {
				in = append(in, f.path)
			}
		case f.runs():
			in = append(in, f.path)
		}
	}
	return look, in, errors.Join(errs...)
}
