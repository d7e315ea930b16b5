package nft

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestExplain: an error names the missing privilege or kernel feature. An error within a
// transaction is not explained.
func TestExplain(t *testing.T) {
	const kernel = "the kernel lacks a part of nf_tables"
	for err, want := range map[error]string{
		unix.EPERM:                          "CAP_NET_ADMIN is needed",
		fmt.Errorf("read: %w", unix.EINVAL): kernel,
		unix.EPROTONOSUPPORT:                kernel,
		&opError{err: unix.EOPNOTSUPP}:      kernel,
		&opError{err: unix.EINVAL}:          "invalid argument",
		unix.ENOBUFS:                        "no buffer space available",
	} {
		got := explain(err)
		if !errors.Is(got, err) || !strings.HasSuffix(strings.SplitN(got.Error(), " (", 2)[0], want) {
			t.Errorf("%v: %v, not %s", err, got, want)
		}
	}
}
