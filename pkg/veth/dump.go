package veth

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// maxDumpAttempts is the number of times that a list is read if it changes meanwhile.
const maxDumpAttempts = 10

// dump sends a request for a list and calls each with every answer. If the objects changed
// meanwhile, the list may be incomplete: dump calls reset, which discards what each has
// collected, and reads the list again. If it changed in each of maxDumpAttempts, the error
// is netlink.ErrInterrupted.
func (s *socket) dump(m *message, reset func(), each func(body []byte)) error {
	_, err := s.dumpWhile(m, reset, func(body []byte) bool { each(body); return true })
	return err
}

// dumpWhile is dump until each returns false. whole reports whether the list was read to
// its end. Otherwise the rest stays in the socket, which has to be closed.
func (s *socket) dumpWhile(m *message, reset func(), each func(body []byte) bool) (whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range maxDumpAttempts {
		reset()
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
		if !each(answer.Body) && !interrupted { // an interrupted list is read again
			return false, nil
		}
	}
	return true, nil
}
