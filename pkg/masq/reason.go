package masq

import "fmt"

// Reason says why an object of the kernel is reported as a difference.
type Reason uint8

// The reasons of a difference. NotChecked is no fault of the object: this process could
// not read it.
const (
	Missing Reason = iota + 1
	Changed
	Unexpected
	NotChecked
)

// String returns one or two words, for output.
func (r Reason) String() string {
	switch r {
	case Missing:
		return "missing"
	case Changed:
		return "changed"
	case Unexpected:
		return "unexpected"
	case NotChecked:
		return "not checked"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}
