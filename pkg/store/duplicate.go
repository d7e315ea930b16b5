package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Duplicate is an address that several attachments of the node have.
type Duplicate struct {
	Address netip.Addr
	// Holders are the attachments in the order of their creation. The rules of the address
	// belong to the last attachment. The node's route decides which of them receives packets.
	Holders []Record
}

// String names the address and its holders.
func (d Duplicate) String() string {
	var names []string
	for _, h := range d.Holders {
		names = append(names, h.Identity())
	}
	return fmt.Sprintf("%s is the address of %d attachments: %s", d.Address, len(d.Holders), strings.Join(names, ", "))
}

// Duplicates returns the addresses that several records have, in ascending order. Records
// that are not ready do not count: their ADD may still fail.
func Duplicates(records []Record) []Duplicate {
	first := map[netip.Addr]int{} // indexes of records
	more := map[netip.Addr][]int{}
	for i, r := range records {
		if !r.Ready {
			continue
		}
		for _, a := range r.Addresses {
			f, found := first[a]
			switch {
			case !found:
				first[a] = i
			case f != i && !slices.Contains(more[a], i):
				more[a] = append(more[a], i)
			}
		}
	}
	var out []Duplicate
	for a, others := range more {
		d := Duplicate{Address: a, Holders: []Record{records[first[a]]}}
		for _, i := range others {
			d.Holders = append(d.Holders, records[i])
		}
		Sort(d.Holders)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Duplicate) int { return a.Address.Compare(b.Address) })
	return out
}

// markDir has an empty file, a mark, for each record with Replaced, so that
// MarkedDuplicates need not read all records.
func (r *Records) markDir() string { return filepath.Join(filepath.Dir(r.dir), "duplicates") }

func (r *Records) markPath(k masq.Key) string {
	return filepath.Join(r.markDir(), strings.TrimSuffix(filepath.Base(r.path(k)), ".json"))
}

// PutReplacing is Put for a record whose field Replaced is set. It also writes the mark that
// MarkedDuplicates reads.
func (r *Records) PutReplacing(rec Record) error {
	if err := writeIn(r.markDir(), func() error { return os.WriteFile(r.markPath(rec.Key), nil, 0o600) }); err != nil {
		return fmt.Errorf("mark a duplicate address: %w", err)
	}
	return r.Put(rec)
}

// unmark removes the mark that PutReplacing made, if any.
func (r *Records) unmark(k masq.Key) error {
	err := os.Remove(r.markPath(k))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_ = os.Remove(r.markDir()) // fails unless it is empty
	return err
}

// MarkedDuplicates returns the duplicate addresses of attachments that have a mark. Its
// cost grows with the number of marks, not with the number of attachments.
func (r *Records) MarkedDuplicates() ([]Duplicate, error) {
	marks, err := r.files(r.markDir())
	if err != nil {
		return nil, err
	}
	found := map[masq.Key]Record{}
	var errs []error
	for _, m := range marks {
		rec, err := r.Read(filepath.Join(r.dir, m.Name()+".json"))
		if err == nil {
			found[rec.Key] = rec
			var others []Record
			others, err = r.Replaced(rec)
			for _, o := range others {
				found[o.Key] = o
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	var all []Record
	for _, rec := range found {
		all = append(all, rec)
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Identity(), b.Identity()) })
	return Duplicates(all), errors.Join(errs...)
}

// Replaced returns the records of the attachments that rec replaced and that still have
// one of its addresses, in the order of their creation.
func (r *Records) Replaced(rec Record) ([]Record, error) {
	var out []Record
	var errs []error
	for _, k := range rec.Replaced {
		o, found, err := r.Get(k)
		errs = append(errs, err)
		if found && o.Ready && slices.ContainsFunc(o.Addresses, func(a netip.Addr) bool { return slices.Contains(rec.Addresses, a) }) {
			out = append(out, o)
		}
	}
	Sort(out)
	return out, errors.Join(errs...)
}
