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

// The directories in which runtimes find networks and plugins by default.
const (
	DefaultConfDir = "/etc/cni/net.d"
	DefaultBinDir  = "/opt/cni/bin"
)

// minAge is the minimum age of an unreadable file to be reported: another program may still
// be writing a younger file.
const minAge = 2 * time.Second

var (
	// ErrNoNetwork says that the directory has no network into which masq can be inserted.
	ErrNoNetwork = errors.New("there is no network configuration to insert masq into; install the CNI plugin of the network first, or give --mode network")
	// ErrBusy says that another program is writing a file: try again a moment later.
	ErrBusy = errors.New("a file is being written")
)

// Action is the kind of a change of a file. Its text is the message in the log.
type Action string

// The actions.
const (
	Inserted       Action = "masq inserted"          // into the list that the runtime uses
	Replaced       Action = "entry of masq replaced" // in that list; the note is the previous entry
	ListWritten    Action = "list with masq written" // the note names the file that the list was made from
	ListRemoved    Action = "list of masq-cni removed"
	EntryRemoved   Action = "masq removed" // from a list that the runtime does not use
	NetworkWritten Action = "network of masq written"
)

// Change is a change of a file.
type Change struct {
	Action Action
	Path   string
	Note   string // may be empty
}

// Outcome is the result of an install or a removal.
type Outcome struct {
	Changes []Change
	// Warnings are problems that an administrator has to solve.
	Warnings []string
}

func (o *Outcome) record(what Action, path, note string) {
	o.Changes = append(o.Changes, Change{what, path, note})
}

func (o *Outcome) warn(path, format string, args ...any) {
	o.Warnings = append(o.Warnings, path+": "+fmt.Sprintf(format, args...))
}

// Chain inserts the entry after the first plugin of the network that the runtime uses, and
// removes it from other networks.
func Chain(ctx context.Context, confDir string, entry json.RawMessage) (outcome Outcome, err error) {
	d, err := lockDir(ctx, confDir)
	if errors.Is(err, fs.ErrNotExist) {
		return outcome, fmt.Errorf("%w: %w", ErrNoNetwork, err)
	}
	if err != nil {
		return outcome, err
	}
	defer d.release()
	files, err := d.readAll()
	if err != nil {
		return outcome, err
	}
	used, err := outcome.usedFile(files)
	if errors.Is(err, ErrNoNetwork) {
		return outcome, errors.Join(err, d.removeOrphans(&outcome, files))
	}
	if err != nil {
		return outcome, err
	}
	madeOf, err := d.chain(&outcome, used, entry)
	if errors.Is(err, safedir.ErrChanged) {
		return outcome, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if err != nil {
		return outcome, fmt.Errorf("%s: %w", used.path, err)
	}
	// This comes last, so that the network has masq at all times.
	return outcome, d.removeElsewhere(&outcome, files, entry, func(f *file) bool { return f == used || f.name == madeOf })
}

// removeOrphans removes lists that were made from a file that no longer exists.
func (d *dir) removeOrphans(outcome *Outcome, files []*file) error {
	var errs []error
	for _, f := range files {
		if f.made != "" && f.made != fromRanges {
			errs = append(errs, d.removeList(outcome, f))
		}
	}
	return errors.Join(errs...)
}

// usedFile returns the file that the runtime uses, or would use without the lists that this
// package wrote.
func (o *Outcome) usedFile(files []*file) (*file, error) {
	for _, f := range files {
		switch {
		case f.made != "":
		case f.fault == nil:
			return f, nil
		case f.age().Abs() < minAge:
			return nil, fmt.Errorf("%w: %s: %w", ErrBusy, f.path, f.fault)
		default:
			o.warn(f.path, "%v; containerd uses no network as long as this is the first file: correct or remove it", f.fault)
		}
	}
	return nil, ErrNoNetwork
}

// chain inserts masq into a list, or makes a list from a file with a single plugin and
// returns its name.
func (d *dir) chain(outcome *Outcome, f *file, entry json.RawMessage) (made string, err error) {
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
			outcome.record(ListWritten, filepath.Join(d.path, made), "made from "+f.name)
		}
		if l, err := parseList(text); err == nil {
			outcome.warnOfMasquerade(f, l)
		}
		return made, err
	}
	outcome.warnOfMasquerade(f, f.list)
	ours := f.list.masqIndexes()
	var (
		text []byte
		what = Inserted
		note string
	)
	switch {
	case len(ours) > 1:
		return "", fmt.Errorf("the list has %d entries of masq; keep one", len(ours))
	case len(ours) == 0:
		text, err = f.list.insert(entry)
	case ours[0] == 0:
		return "", nil // it makes the link itself
	case sameJSON(f.list.entryAt(ours[0]), entry):
		return "", nil
	default:
		what, note = Replaced, "before: "+masq.Clip(string(f.list.entryAt(ours[0])))
		text, err = f.list.replace(ours[0], entry)
	}
	if err != nil {
		return "", err
	}
	if f.isLink() {
		return "", errors.New("is a symbolic link, which a rename would replace; put a file in its place")
	}
	if err := d.rewrite(f, text); err != nil {
		return "", err
	}
	outcome.record(what, f.path, note)
	return "", nil
}

func (o *Outcome) warnOfMasquerade(f *file, list *list) {
	if w := list.masqueradeWarning(); w != "" {
		o.warn(f.path, "%s", w)
	}
}

// removeElsewhere removes masq from files that must not have it: lists that were made here,
// and entries with the same content as ours, which an earlier install inserted.
func (d *dir) removeElsewhere(outcome *Outcome, files []*file, entry json.RawMessage, keep func(*file) bool) error {
	var errs []error
	for _, f := range files {
		switch {
		case keep(f):
		case f.made != "":
			errs = append(errs, d.removeList(outcome, f))
		case f.list != nil && entry != nil && !f.isLink():
			errs = append(errs, d.removeEntries(outcome, f, func(text []byte) bool { return sameJSON(text, entry) }))
		}
	}
	return errors.Join(errs...)
}

// removeList removes a list that was made here.
func (d *dir) removeList(outcome *Outcome, f *file) error {
	if err := d.remove(f.name); err != nil {
		return err
	}
	outcome.record(ListRemoved, f.path, "")
	return nil
}

// removeEntries removes entries of masq after the first plugin of a list.
func (d *dir) removeEntries(outcome *Outcome, f *file, which func(text []byte) bool) error {
	ours := slices.DeleteFunc(f.list.masqIndexes(), func(i int) bool {
		return i == 0 || !which(f.list.entryAt(i))
	})
	if len(ours) == 0 {
		return nil
	}
	text, err := f.list.remove(ours...)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if err := d.rewrite(f, text); err != nil {
		return err
	}
	outcome.record(EntryRemoved, f.path, "")
	return nil
}

// Write writes the network as a list with this file name. From other lists it removes
// entries that are equal to chained, which an earlier Chain inserted.
func (n Network) Write(ctx context.Context, confDir, name string, chained json.RawMessage) (outcome Outcome, err error) {
	text, err := n.text()
	if err != nil {
		return outcome, err
	}
	d, err := lockDir(ctx, confDir)
	if err != nil {
		return outcome, err
	}
	defer d.release()
	files, err := d.readAll()
	if err != nil {
		return outcome, err
	}
	path := filepath.Join(confDir, name)
	for _, f := range files {
		switch {
		case f.name == name && f.made == "" && !errors.Is(f.fault, fs.ErrNotExist):
			return outcome, fmt.Errorf("%s was not written by masq-cni; move it to another directory, or give another --conf-name", path)
		case f.name < name && f.made == "":
			outcome.warn(f.path, "comes before %s in the order of names, so that the runtime uses this file", name)
		}
	}
	changed, err := d.write(name, text)
	if err != nil {
		return outcome, err
	}
	if changed {
		outcome.record(NetworkWritten, path, "")
	}
	return outcome, d.removeElsewhere(&outcome, files, chained, func(f *file) bool { return f.name == name })
}

// Remove removes masq from all lists, and removes the lists that this package wrote.
// stillUsing are the files that still have masq, because masq is their first plugin or because
// they are symbolic links.
func Remove(ctx context.Context, confDir string) (outcome Outcome, stillUsing []string, err error) {
	d, err := lockDir(ctx, confDir)
	if errors.Is(err, fs.ErrNotExist) {
		return outcome, nil, nil
	}
	if err != nil {
		return outcome, nil, err
	}
	defer d.release()
	files, err := d.readAll()
	if err != nil {
		return outcome, nil, err
	}
	var errs []error
	for _, f := range files {
		switch {
		case f.made != "":
			errs = append(errs, d.removeList(&outcome, f))
		case f.isLink() && f.runs():
			stillUsing = append(stillUsing, f.path)
		case f.list != nil:
			errs = append(errs, d.removeEntries(&outcome, f, func([]byte) bool { return true }))
			if slices.Contains(f.list.masqIndexes(), 0) {
				stillUsing = append(stillUsing, f.path)
			}
		case f.runs():
			stillUsing = append(stillUsing, f.path)
		}
	}
	return outcome, stillUsing, errors.Join(errs...)
}
