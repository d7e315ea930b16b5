package store

import (
	"fmt"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Probes look for evidence of a container in the kernel. All functions are required.
type Probes struct {
	// Boot is the ID of this boot, empty if unknown.
	Boot string
	// HasLink reports whether the node has an interface with this index.
	HasLink func(index int) (bool, error)
	// Aliases returns Alias and Group of every interface of the node that has an alias.
	// An incomplete list is an error.
	Aliases func() (map[masq.HostLink]bool, error)
	// NetNS returns the state of a network namespace.
	NetNS func(masq.NetNS) masq.NetNSState
}

// Verdict says whether a container exists. The zero Verdict proves nothing.
type Verdict struct {
	// Alive is true if the container exists.
	Alive bool
	// Gone is the proof, in words, that the container no longer exists. It is empty
	// without a proof.
	Gone string
	// Certain is true if the proof cannot be wrong.
	Certain bool
}

// Inquiry judges records. It lists the node's links at most once, and is therefore for
// records of one moment.
type Inquiry struct {
	Probes
	// Whole reads a record from disk if only part of its evidence is in memory. It is nil
	// if all evidence is in memory.
	Whole   func(masq.Key) (Record, bool, error)
	aliases map[masq.HostLink]bool
}

// Judge weighs the evidence of a record. A container is gone if its network namespace is
// gone or, if the state of that is unknown, if every link that ended in it is gone. It is
// alive if the namespace or one of the links exists. Without evidence the result is the
// zero Verdict.
func (q *Inquiry) Judge(r *Record) (Verdict, error) {
	if e := r.Evidence; e != nil && e.Boot != "" && q.Boot != "" && e.Boot != q.Boot {
		return Verdict{Gone: "the node was rebooted after ADD", Certain: true}, nil
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
		// The plugin was killed before it made the link, or after it removed the link.
		return Verdict{Gone: "ADD or DEL did not finish, and the link does not exist", Certain: true}, nil
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
			return Verdict{Gone: "network namespace " + netns.Path + " no longer exists", Certain: len(links) > 0}, nil
		case masq.NetNSUnknown:
		}
	}
	if len(links) == 0 {
		return Verdict{}, nil
	}
	return Verdict{Gone: "these links no longer exist: " + strings.Join(namesOf(links), ", ")}, nil
}

// linksOf returns the links that end in the container. The link of main mode is known by
// its alias, even without evidence in the record.
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

// has looks up a link by its index and by its alias.
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
		// The spoof check may have been switched on or off since ADD.
		return q.aliases[masq.HostLink{Alias: l.Alias, Group: masq.CheckedGroup}] ||
			q.aliases[masq.HostLink{Alias: l.Alias, Group: masq.UncheckedGroup}], nil
	}
	return q.aliases[masq.HostLink{Alias: l.Alias, Group: l.Group}], nil
}

// rest returns the evidence that is not in memory.
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
		return nil, nil, fmt.Errorf("read the evidence of %s: %w", r.Key, err)
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
