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
	// GoneReason says, for messages, why the container no longer exists. It is empty if that
	// is not proven.
	GoneReason string
	// Certain is true if the proof cannot be wrong.
	Certain bool
}

// ContainerCheck finds out whether the containers of records still exist. It lists the
// aliases of the node's links only once, so a ContainerCheck is for one pass over records.
type ContainerCheck struct {
	Probes
	// ReadRecord reads a record from disk. Check calls it for a record that has only part
	// of its evidence in memory. It is nil if all evidence is in memory.
	ReadRecord func(masq.Key) (Record, bool, error)
	aliases    map[masq.HostLink]bool
}

// Check looks for the container of a record in the kernel. The container is alive if its
// network namespace or one of its links exists. It is gone if the namespace does not exist.
// If the state of the namespace is unknown, it is gone if none of its links exists. It is
// also gone after a reboot, and if ADD or DEL did not finish and the link does not exist. A
// record without evidence gives the zero Verdict.
func (c *ContainerCheck) Check(r *Record) (Verdict, error) {
	if e := r.Evidence; e != nil && e.Boot != "" && c.Boot != "" && e.Boot != c.Boot {
		return Verdict{GoneReason: "the node was rebooted after ADD", Certain: true}, nil
	}
	links := linksOf(r)
	for _, l := range links {
		found, err := c.linkExists(l)
		if err != nil {
			return Verdict{}, err
		}
		if found {
			return Verdict{Alive: true}, nil
		}
	}
	if !r.Ready && !r.Chained {
		// The plugin was killed before it made the link, or after it removed the link.
		return Verdict{GoneReason: "ADD or DEL did not finish, and the link does not exist", Certain: true}, nil
	}
	netns, links, err := c.storedEvidence(r, links)
	if err != nil {
		return Verdict{}, err
	}
	for _, l := range links {
		if found, err := c.hasAlias(l); found || err != nil {
			return Verdict{Alive: found}, err
		}
	}
	if netns != nil {
		switch c.NetNS(*netns) {
		case masq.NetNSAlive:
			return Verdict{Alive: true}, nil
		case masq.NetNSRemoved:
			return Verdict{GoneReason: "network namespace " + netns.Path + " no longer exists", Certain: len(links) > 0}, nil
		case masq.NetNSUnknown:
		}
	}
	if len(links) == 0 {
		return Verdict{}, nil
	}
	return Verdict{GoneReason: "these links no longer exist: " + strings.Join(namesOf(links), ", ")}, nil
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

// linkExists reports whether the node has a link with the index or the alias of l.
func (c *ContainerCheck) linkExists(l masq.HostLink) (bool, error) {
	if l.Index > 0 {
		if found, err := c.HasLink(l.Index); found || err != nil {
			return found, err
		}
	}
	return c.hasAlias(l)
}

func (c *ContainerCheck) hasAlias(l masq.HostLink) (bool, error) {
	if l.Alias == "" {
		return false, nil
	}
	if c.aliases == nil {
		all, err := c.Aliases()
		if err != nil {
			return false, err
		}
		c.aliases = all
	}
	if masq.IsManagedGroup(l.Group) {
		// The spoof check may have been switched on or off since ADD.
		return c.aliases[masq.HostLink{Alias: l.Alias, Group: masq.CheckedGroup}] ||
			c.aliases[masq.HostLink{Alias: l.Alias, Group: masq.UncheckedGroup}], nil
	}
	return c.aliases[masq.HostLink{Alias: l.Alias, Group: l.Group}], nil
}

// storedEvidence returns the evidence of a record. It reads the record from disk if part of
// the evidence is not in memory.
func (c *ContainerCheck) storedEvidence(r *Record, links []masq.HostLink) (*masq.NetNS, []masq.HostLink, error) {
	e := r.Evidence
	if e == nil || e.NetNS != nil || len(e.Links) == 0 || c.ReadRecord == nil {
		if e == nil {
			return nil, links, nil
		}
		return e.NetNS, links, nil
	}
	whole, found, err := c.ReadRecord(r.Key)
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
