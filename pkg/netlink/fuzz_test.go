package netlink

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
)

// FuzzAnswers: for any answer, each request ends without a panic, and an unreadable answer
// is an error. Attributes that were read are the same when they are written again.
func FuzzAnswers(f *testing.F) {
	var e Encoder
	e.Text(1, "masq")
	at := e.Begin(2 | unix.NLA_F_NESTED)
	e.Uint8(1, 1)
	e.Uint16(2, 2)
	e.Uint32(3, 3)
	e.Uint64(4, 4)
	e.NativeUint32(5, 5)
	e.End(at)
	f.Add([]byte(e))
	f.Add(netlinktest.Message(object, unix.NLM_F_DUMP_INTR, 1, e))
	f.Add(append(netlinktest.Message(object, 0, 1, e), netlinktest.Message(unix.NLMSG_DONE, 0, 1, make([]byte, 4))...))
	f.Add(netlinktest.Message(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, 1, extended([]byte("1234"), "text")))
	f.Add(netlinktest.Message(unix.NLMSG_ERROR, 0, 1, netlinktest.Code(0)))
	f.Add([]byte{17, 0, 0, 0, 0, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		answering := func() *Conn {
			return scripted(func(r *netlinktest.Request) { r.Datagram(b) })
		}
		for _, err := range answering().Dump(object, 0) {
			_ = err
		}
		_, _ = answering().Get(object, 0)
		one := &Batch{}
		one.Add(object, 0)
		_, _ = exchanged(answering(), one)

		var again Encoder
		a := Attributes{Rest: b}
		for a.Next() {
			again.Bytes(a.Type, a.Data)
			_ = Text(a.Data)
		}
		if err := a.Err(); err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("not ErrMalformed: %v", err)
		}
		read := Attributes{Rest: again}
		for typ, data := range All(b) {
			if !read.Next() || read.Type != typ || !bytes.Equal(read.Data, data) {
				t.Fatalf("attribute %d of %x reads back as %d of %x", typ, data, read.Type, read.Data)
			}
		}
		if err := read.Err(); err != nil {
			t.Error(err)
		}
	})
}
