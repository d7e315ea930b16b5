package natlog

import (
	"encoding/binary"
	"fmt"
)

// owner is an Owner that rows share.
type owner struct {
	Owner
	block uint64 // the last block whose size includes it
}

func (o *Owner) strings() [6]*string {
	return [...]*string{&o.Network, &o.ContainerID, &o.Interface, &o.Namespace, &o.Name, &o.UID}
}

// size returns the bytes of the owner in a block, rounded up.
func (o *Owner) size() int {
	n := 0
	for _, s := range o.strings() {
		n += len(*s) + 2
	}
	return n
}

// Limits: bytes of one owner, owners in an ownerTable, and bytes of owners in one block.
const (
	maxOwner       = 4 << 10
	maxOwners      = 4 << 10
	maxOwnersBytes = maxColumn - 2*maxOwner
)

// ownerTable returns the same pointer for equal owners. It is cleared when it is full; then
// a block may have two entries for one owner.
type ownerTable struct {
	all  map[Owner]*owner
	last *owner
}

// intern returns the shared owner that equals o.
func (s *ownerTable) intern(o *Owner) (*owner, error) {
	if s.last != nil && s.last.Owner == *o {
		return s.last, nil
	}
	x := s.all[*o]
	if x == nil {
		if n := o.size(); n > maxOwner {
			return nil, fmt.Errorf("the names of attachment %.64q have %d bytes; the limit is %d", o.ContainerID, n, maxOwner)
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
			return nil, errCorrupt("a name of an attachment is truncated")
		}
		*s = string(b[k : k+int(n)])
		b = b[k+int(n):]
	}
	return b, nil
}
