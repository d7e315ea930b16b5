package conntrack

import (
	"errors"
	"fmt"
)

// ErrMalformed says that a netlink message is not what a kernel sends.
var ErrMalformed = errors.New("malformed netlink message")

func malformedf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

func malformed(a *attrs) error {
	return malformedf("attribute %d of %d bytes", a.typ, len(a.data))
}

// end is the error of a list that did not end where its last attribute did.
func (a *attrs) end() error {
	if a.whole() {
		return nil
	}
	return malformedf("%d bytes left over", len(a.rest))
}
