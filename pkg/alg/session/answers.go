package session

import (
	"io"
	"sync"
)

// answers writes to the client: the stream of the server, and answers of our own between the
// messages and frames of the stream.
type answers struct {
	mu     sync.Mutex
	change sync.Cond // of within and closed
	to     io.Writer
	within bool // the stream has a part of a message
	closed bool // the stream has ended, or the ends of its messages are not known
}

func (a *answers) init(to io.Writer) {
	a.to = to
	a.change.L = &a.mu
}

// write writes a part of the server's stream. within says that more of the message follows.
func (a *answers) write(b []byte, within bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.to.Write(b)
	if a.within && !within {
		a.change.Broadcast()
	}
	a.within = within
	return err
}

// insert waits for the end of the current message and writes an answer. It returns false if
// that is not possible anymore. While it waits, no more of the client's requests are read,
// so answers need no queue.
func (a *answers) insert(b []byte) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.within && !a.closed {
		a.change.Wait()
	}
	if a.closed {
		return false, nil
	}
	_, err := a.to.Write(b)
	return true, err
}

// end ends inserting.
func (a *answers) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.change.Broadcast()
}
