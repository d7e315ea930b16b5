package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
)

// three returns a batch of three requests.
func three() *Batch {
	b := &Batch{}
	for i := range 3 {
		b.Add(object, 0, []byte{byte(i)}, []byte("body"))
	}
	return b
}

// exchanged returns the answers that Exchange passes to its function.
func exchanged(c *Conn, b *Batch) (all []string, err error) {
	err = c.Exchange(b, func(i int, m *Message, err error) error {
		if err != nil {
			all = append(all, fmt.Sprintf("%d: %v", i, err))
			return nil
		}
		all = append(all, fmt.Sprintf("%d: %s", i, m.Body))
		return nil
	})
	return all, err
}

func acknowledged(r *netlinktest.Request) bool { return r.Flags&unix.NLM_F_ACK != 0 }

func TestExchange(t *testing.T) {
	ack := func(r *netlinktest.Request) {
		if acknowledged(r) {
			r.Errno(0)
		}
	}
	for name, tt := range map[string]struct {
		batch  *Batch
		answer func(*netlinktest.Request)
		want   []string
		err    error
	}{
		"nothing":  {&Batch{}, func(*netlinktest.Request) { t.Error("an empty batch was sent") }, nil, nil},
		"success":  {three(), ack, nil, nil},
		"silence":  {three(), func(*netlinktest.Request) {}, nil, ErrNoAnswer},
		"overrun":  {three(), func(r *netlinktest.Request) { r.Fail(unix.ENOBUFS); ack(r) }, nil, ErrOverrun},
		"a reply":  {three(), func(r *netlinktest.Request) { r.Reply(object, 0, r.Body[1:]); ack(r) }, []string{"0: body", "1: body", "2: body"}, nil},
		"an error": {three(), func(r *netlinktest.Request) { refuse(r, 2); ack(r) }, []string{"1: no such device"}, nil},
		"the last fails": {three(), func(r *netlinktest.Request) {
			if !refuse(r, 3) {
				ack(r)
			}
		}, []string{"2: no such device"}, nil},
		"late answers": {three(), func(r *netlinktest.Request) {
			r.Datagram(netlinktest.Message(unix.NLMSG_ERROR, 0, r.Seq-4, netlinktest.Code(0)), netlinktest.Message(object, 0, r.Seq+3, nil))
			ack(r)
		}, nil, nil},
		"malformed": {three(), func(r *netlinktest.Request) { r.Datagram([]byte{1, 2, 3}) }, nil, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := exchanged(scripted(tt.answer), tt.batch)
			if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func refuse(r *netlinktest.Request, number int) bool {
	if r.Number == number {
		r.Errno(unix.ENODEV)
	}
	return r.Number == number
}

// TestAcknowledge: one message requests the acknowledgement, by default the last one.
func TestAcknowledge(t *testing.T) {
	for chosen := range 3 {
		b := &Batch{}
		for i := range 3 {
			b.Add(object, 0, []byte("body"))
			if i == chosen {
				b.Acknowledge()
			}
		}
		var asked []int
		c := scripted(func(r *netlinktest.Request) {
			if acknowledged(r) {
				asked = append(asked, r.Number-1)
				r.Errno(0)
			}
		})
		if _, err := exchanged(c, b); err != nil || !slices.Equal(asked, []int{chosen}) {
			t.Errorf("chosen %d, asked %v, %v", chosen, asked, err)
		}
		b.Reset()
		if b.Len() != 0 || b.Size() != 0 {
			t.Errorf("%d messages of %d bytes after Reset", b.Len(), b.Size())
		}
	}
}

func TestGet(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(*netlinktest.Request)
		err    error
	}{
		"found":     {func(r *netlinktest.Request) { r.Reply(object, 0, nil) }, nil},
		"not found": {func(r *netlinktest.Request) { r.Errno(unix.ENOENT) }, unix.ENOENT},
		"late answers": {func(r *netlinktest.Request) {
			r.Datagram(netlinktest.Message(unix.NLMSG_ERROR, 0, r.Seq-1, netlinktest.Code(unix.EPERM)), r.Message(object, 0, nil))
		}, nil},
		"nothing":               {func(*netlinktest.Request) {}, ErrNoAnswer},
		"an acknowledgement":    {func(r *netlinktest.Request) { r.Errno(0) }, ErrNoAnswer},
		"truncated":             {func(r *netlinktest.Request) { r.Datagram(r.Message(object, 0, nil)[:15]) }, ErrMalformed},
		"overrun":               {func(r *netlinktest.Request) { r.Fail(unix.ENOBUFS) }, ErrOverrun},
		"an error without code": {func(r *netlinktest.Request) { r.Reply(unix.NLMSG_ERROR, 0, nil) }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := scripted(tt.answer).Get(object, 0)
			if !errors.Is(err, tt.err) || (m == nil) != (err != nil) {
				t.Errorf("%+v, %v; want %v", m, err, tt.err)
			}
		})
	}
}

// extended returns the body of an EINVAL with the kernel's text.
func extended(request []byte, text string) []byte {
	b := netlinktest.Code(unix.EINVAL)
	header := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(request)))
	b = append(append(b, header...), make([]byte, unix.NLMSG_HDRLEN-4)...)
	b = append(b, request...)
	var e Encoder
	e.NativeUint32(unix.NLMSGERR_ATTR_OFFS, 7)
	e.Text(unix.NLMSGERR_ATTR_MSG, text)
	return append(b, e...)
}

func TestExtendedAcknowledgement(t *testing.T) {
	const said = unix.NLM_F_ACK_TLVS
	atEnd := func() []byte {
		var e Encoder
		e.Text(unix.NLMSGERR_ATTR_MSG, "Too many")
		return append(netlinktest.Code(unix.EINVAL), e...)
	}
	for name, tt := range map[string]struct {
		typ, flags uint16
		body       []byte
		want       string
	}{
		"with the request":     {unix.NLMSG_ERROR, said, extended([]byte("12345678"), "No such thing"), "invalid argument (No such thing)"},
		"without the request":  {unix.NLMSG_ERROR, said | unix.NLM_F_CAPPED, extended(nil, "No such thing"), "invalid argument (No such thing)"},
		"no text":              {unix.NLMSG_ERROR, said | unix.NLM_F_CAPPED, extended(nil, ""), "invalid argument"},
		"no attributes":        {unix.NLMSG_ERROR, unix.NLM_F_CAPPED, extended(nil, "none"), "invalid argument"},
		"a request too long":   {unix.NLMSG_ERROR, said, append(netlinktest.Code(unix.EINVAL), slices.Repeat([]byte{0xff}, 16)...), "invalid argument"},
		"only an errno":        {unix.NLMSG_ERROR, said, netlinktest.Code(unix.EINVAL), "invalid argument"},
		"at the end of a dump": {unix.NLMSG_DONE, said, atEnd(), "invalid argument (Too many)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dumped(t, scripted(func(r *netlinktest.Request) { r.Reply(tt.typ, tt.flags, tt.body) }))
			if !errors.Is(err, unix.EINVAL) || err.Error() != tt.want {
				t.Errorf("%v; want %s", err, tt.want)
			}
		})
	}
}
