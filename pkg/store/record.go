package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Version is that of the records that this program writes.
const Version = 1

// Record is what is kept of an attachment.
type Record struct {
	Version int `json:"version"`
	masq.Attachment
	// Ready is false from the intent until everything is in place.
	Ready bool `json:"ready"`
	// Chained says that another plugin made the link.
	Chained bool `json:"chained,omitempty"`
	// Links are the names that the links of Evidence had at ADD. Records of programs
	// without Evidence list names of prevResult here, which the node may never have
	// had: they prove nothing.
	Links []string `json:"links,omitempty"`
	// NetNS is the path of the container's network namespace at ADD.
	NetNS string `json:"netns,omitempty"`
	// IPAM is the type of the plugin that leased the addresses.
	IPAM string `json:"ipam,omitempty"`
	// MTU is that of the link, in bytes.
	MTU int `json:"mtu,omitempty"`
	// HostMAC, Prefixes and Routes say what ADD made of a link of ours: see masq.Link.
	// Records of earlier versions lack them.
	HostMAC  string         `json:"hostMAC,omitempty"`
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	Routes   []masq.Route   `json:"routes,omitempty"`
	// Replaced are the attachments that had an address of this one when it was made.
	// When this one goes, the last of them that is left has the address again.
	Replaced []masq.Key `json:"replaced,omitempty"`
	// Evidence tells whether the container is gone; nil in records of earlier programs.
	Evidence *masq.Evidence `json:"evidence,omitempty"`
	// Created is when the intent was written.
	Created time.Time `json:"created"`
}

// Link is what the record says of the link.
func (r Record) Link() masq.Link {
	return masq.Link{NetNS: r.NetNS, MTU: r.MTU, HostMAC: r.HostMAC, Prefixes: r.Prefixes, Routes: r.Routes}
}

// ErrNewer says that a record was written by a later program than this one.
var ErrNewer = errors.New("record of a newer version")

func parse(b []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(b, &r)
	if err != nil {
		// A newer one may be of another shape.
		var head struct {
			Version int `json:"version"`
		}
		if json.Unmarshal(b, &head) != nil || head.Version <= Version {
			return Record{}, fmt.Errorf("not a record: %w", err)
		}
		r.Version = head.Version
	}
	if r.Version > Version {
		return Record{}, fmt.Errorf("%w: %d where this program knows %d", ErrNewer, r.Version, Version)
	}
	if r.Network == "" || r.ContainerID == "" || r.Interface == "" {
		return Record{}, errors.New("not a record: network, containerID and interface are needed")
	}
	for _, a := range r.Addresses {
		if !a.IsValid() || a.Zone() != "" {
			return Record{}, fmt.Errorf("address %q cannot be an attachment's", a)
		}
	}
	if err := r.Link().Validate(); err != nil {
		return Record{}, err
	}
	if r.Policy != nil {
		if err := r.Policy.Validate(); err != nil {
			return Record{}, fmt.Errorf("policy: %w", err)
		}
	}
	return r, nil
}
