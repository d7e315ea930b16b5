package natlog

import (
	"encoding/binary"
	"fmt"
)

// owner is held once for all the rows that refer to it.
type owner struct {
	Owner
	block uint64 // the last block that counted its size
}

func (o *Owner) strings() [6]*string {
	return [...]*string{&o.Network, &o.ContainerID, &o.Interface, &o.Namespace, &o.Name, &o.UID}
}

func (o *Owner) size() int {
	n := 0
	for _, s := range o.strings() {
		n += len(*s) + 2
	}
	return n
}

// Bounds on owners: the bytes of one, how many of them are remembered, and the bytes
// of all that one block names.
const (
	maxOwner       = 4 << 10
	maxOwners      = 4 << 10
	maxOwnersBytes = maxColumn - 2*maxOwner
)

// owners finds the one that stands for equal ones. Forgetting it costs nothing but
// a second entry in a block.
type owners struct {
	all  map[Owner]*owner
	last *owner
}

func (s *owners) intern(o *Owner) (*owner, error) {
	if s.last != nil && s.last.Owner == *o {
		return s.last, nil
	}
	x := s.all[*o]
	if x == nil {
		if n := o.size(); n > maxOwner {
			return nil, fmt.Errorf("the names of attachment %.64q are of %d bytes; the log takes %d", o.ContainerID, n, maxOwner)
		}
		if s.all == nil || len(s.all) >= maxOwners {
			s.all = map[Owner]*owner{}
		}
		x = &owner{Owner: *o}
		s.all[*o] = x
	}
	s.last = x
	return x, nil
}

func appendOwner(b []byte, o *Owner) []byte {
	for _, s := range o.strings() {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	return b
}

func takeOwner(b []byte, o *Owner) ([]byte, error) {
	for _, s := range o.strings() {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, errCorrupt("a name of an attachment")
		}
		*s = string(b[k : k+int(n)])
		b = b[k+int(n):]
	}
	return b, nil
}
