package store

import (
	"fmt"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Kernel is what proves that a container is gone, or that it is there. All fields are
// needed.
type Kernel struct {
	// Boot is the ID of this boot; empty where it is not known.
	Boot string
	// HasLink reports whether the node has an interface of this index.
	HasLink func(index int) (bool, error)
	// Aliases returns Alias and Group of each of the node's interfaces that has an
	// alias: all of them, or an error.
	Aliases func() (map[masq.HostLink]bool, error)
	// NetNS looks a network namespace up.
	NetNS func(masq.NetNS) masq.NetNSState
}

// Verdict is what the evidence of a record says. Its zero value proves nothing.
type Verdict struct {
	// Alive says that the container is there.
	Alive bool
	// Gone is the proof that the container is gone, in words; empty without one.
	Gone string
	// Certain says that the proof cannot be a mistake.
	Certain bool
}

// Inquiry judges the records of one moment. It lists the node's links once, and only
// where it has to.
type Inquiry struct {
	Kernel
	// Whole reads a record again, of which not all evidence is in memory; nil where all
	// is.
	Whole   func(masq.Key) (Record, bool, error)
	aliases map[masq.HostLink]bool
}

// Judge weighs the evidence of a record. A container is gone where its network namespace
// is, or, where that is not known, every link that ended in it. It is there where one of
// these is. Records without evidence of either prove nothing.
func (q *Inquiry) Judge(r *Record) (Verdict, error) {
	if e := r.Evidence; e != nil && e.Boot != "" && q.Boot != "" && e.Boot != q.Boot {
		return Verdict{Gone: "the node was booted after ADD", Certain: true}, nil
	}
	links := linksOf(r)
	for _, l := range links {
		found, err := q.has(l)
		if err != nil {
			return Verdict{}, err
		}
		if found {
			return Verdict{Alive: true}, nil
		}
	}
	if !r.Ready && !r.Chained {
		// The plugin died before it made a link, or after it removed the link.
		return Verdict{Gone: "ADD or DEL did not finish, and there is no link", Certain: true}, nil
	}
	netns, links, err := q.rest(r, links)
	if err != nil {
		return Verdict{}, err
	}
	for _, l := range links {
		if found, err := q.hasAlias(l); found || err != nil {
			return Verdict{Alive: found}, err
		}
	}
	if netns != nil {
		switch q.NetNS(*netns) {
		case masq.NetNSAlive:
			return Verdict{Alive: true}, nil
		case masq.NetNSRemoved:
			return Verdict{Gone: "network namespace " + netns.Path + " is gone", Certain: len(links) > 0}, nil
		case masq.NetNSUnknown:
		}
	}
	if len(links) == 0 {
		return Verdict{}, nil
	}
	return Verdict{Gone: "gone from the node: " + strings.Join(namesOf(links), ", ")}, nil
}

// linksOf returns the links that end in the container. That of main mode is known by its
// alias, whatever the record says.
func linksOf(r *Record) []masq.HostLink {
	if r.Evidence != nil && len(r.Evidence.Links) > 0 {
		if !r.Chained {
			return []masq.HostLink{r.HostLink(r.Evidence.Links[0].Index)}
		}
		return r.Evidence.Links
	}
	if !r.Chained {
		return []masq.HostLink{r.HostLink(0)}
	}
	return nil
}

// has looks a link up by its index, and by its alias where it has one in memory.
func (q *Inquiry) has(l masq.HostLink) (bool, error) {
	if l.Index > 0 {
		if found, err := q.HasLink(l.Index); found || err != nil {
			return found, err
		}
	}
	return q.hasAlias(l)
}

func (q *Inquiry) hasAlias(l masq.HostLink) (bool, error) {
	if l.Alias == "" {
		return false, nil
	}
	if q.aliases == nil {
		all, err := q.Aliases()
		if err != nil {
			return false, err
		}
		q.aliases = all
	}
	if masq.IsManagedGroup(l.Group) {
		// The check of sources may have been switched since.
		return q.aliases[masq.HostLink{Alias: l.Alias, Group: masq.CheckedGroup}] ||
			q.aliases[masq.HostLink{Alias: l.Alias, Group: masq.UncheckedGroup}], nil
	}
	return q.aliases[masq.HostLink{Alias: l.Alias, Group: l.Group}], nil
}

// rest returns the evidence that slim has left out.
func (q *Inquiry) rest(r *Record, links []masq.HostLink) (*masq.NetNS, []masq.HostLink, error) {
	e := r.Evidence
	if e == nil || e.NetNS != nil || len(e.Links) == 0 || q.Whole == nil {
		if e == nil {
			return nil, links, nil
		}
		return e.NetNS, links, nil
	}
	whole, found, err := q.Whole(r.Key)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("look for the evidence of %s: %w", r.Key, err)
	case !found || whole.Evidence == nil:
		return nil, links, nil // deleted meanwhile
	}
	return whole.Evidence.NetNS, linksOf(&whole), nil
}

func namesOf(links []masq.HostLink) (names []string) {
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names
}
