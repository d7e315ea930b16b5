package cniconf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// fault is one thing that is wrong with a configuration. All its texts are safe
// to print: what came from outside is quoted.
type fault struct {
	code  uint   // of CNI; zero is ErrInvalidNetworkConfig
	key   string // decides the order
	place string // as it is shown, where that is more than the key: helpers.ftp
	value string
	wrong string // what is wrong
	mend  string // what to do
}

func (f fault) String() string {
	return cmp.Or(f.place, f.key) + ": " + f.value + ": " + f.wrong + "; " + f.mend
}

// faults are collected while reading and reported together.
type faults []fault

func (fs *faults) add(key, value, wrong, mend string) {
	*fs = append(*fs, fault{key: key, value: value, wrong: wrong, mend: mend})
}

func (fs *faults) addAt(key, place, value, wrong, mend string) {
	*fs = append(*fs, fault{key: key, place: place, value: value, wrong: wrong, mend: mend})
}

// only returns the faults with one code.
func (fs faults) only(code uint) faults {
	return slices.DeleteFunc(slices.Clone(fs), func(f fault) bool {
		return cmp.Or(f.code, types.ErrInvalidNetworkConfig) != code
	})
}

// err returns all faults as one *types.Error, or nil if there is none.
func (fs faults) err(network string) error {
	if len(fs) == 0 {
		return nil
	}
	what := "invalid configuration"
	if network != "" {
		what += " of network " + masq.Quote(network)
	}
	code := types.ErrInvalidNetworkConfig
	if version := fs.only(types.ErrIncompatibleCNIVersion); len(version) > 0 {
		// What else looks wrong may be right in that version.
		fs, code, what = version, types.ErrIncompatibleCNIVersion, what+": unsupported cniVersion"
	} else if decoding := fs.only(types.ErrDecodingFailure); len(decoding) > 0 {
		fs, code, what = decoding, types.ErrDecodingFailure, "configuration cannot be decoded"
	} else if args := fs.only(types.ErrInvalidEnvironmentVariables); len(args) == len(fs) {
		code, what = types.ErrInvalidEnvironmentVariables, "invalid environment variable CNI_ARGS"
	}
	fs = slices.Clone(fs)
	slices.SortStableFunc(fs, func(a, b fault) int {
		if c := cmp.Compare(rankOf(a.key), rankOf(b.key)); c != 0 {
			return c
		}
		// Unknown keys share a rank; several faults of one key stay as found.
		return cmp.Compare(a.key, b.key)
	})
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	count := "1 fault"
	if len(fs) > 1 {
		count = fmt.Sprintf("%d faults", len(fs))
	}
	return types.NewError(code, what+": "+count, strings.Join(lines, "\n"))
}
