package veth

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// maxDumpAttempts is how often a list is read because it changed meanwhile.
const maxDumpAttempts = 10

// dump sends a request for many answers and calls each with every one of them. If
// the objects changed meanwhile, the list may be incomplete: dump calls forget, which
// discards what each has collected, and reads it again. A list that changed in each of
// maxDumpAttempts is netlink.ErrInterrupted.
func (s *socket) dump(m *message, forget func(), each func(body []byte)) error {
	_, err := s.dumpWhile(m, forget, func(body []byte) bool { each(body); return true })
	return err
}

// dumpWhile is dump that ends with the first answer for which the function returns
// false. It reports whether that was all: where it was not, the rest stays in the
// socket, which then is good for nothing else.
func (s *socket) dumpWhile(m *message, forget func(), each func(body []byte) bool) (whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range maxDumpAttempts {
		forget()
		whole, err = s.dumpOnce(m, each)
		if !errors.Is(err, netlink.ErrInterrupted) {
			m.err = err
			return whole, m.failed()
		}
	}
	m.err = fmt.Errorf("%w, in each of %d attempts", err, maxDumpAttempts)
	return whole, m.failed()
}

func (s *socket) dumpOnce(m *message, each func(body []byte) bool) (whole bool, err error) {
	interrupted := false
	for answer, err := range s.c.Dump(m.typ, m.flags, m.Encoder) {
		if err != nil {
			return true, err
		}
		interrupted = interrupted || answer.Flags&unix.NLM_F_DUMP_INTR != 0
		if !each(answer.Body) && !interrupted { // otherwise it is read again
			return false, nil
		}
	}
	return true, nil
}
