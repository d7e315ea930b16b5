package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Version is the version of the records that this program writes.
const Version = 1

// Record describes an attachment and what ADD made for it.
type Record struct {
	Version int `json:"version"`
	masq.Attachment
	// Ready is false while ADD or DEL works on the attachment.
	Ready bool `json:"ready"`
	// Chained is true if another plugin made the link.
	Chained bool `json:"chained,omitempty"`
	// Links are the names of the links of Evidence at ADD. In records without Evidence
	// they are names of prevResult. The node may never have had such interfaces, so that
	// these names prove nothing.
	Links []string `json:"links,omitempty"`
	// NetNS is the path of the container's network namespace at ADD.
	NetNS string `json:"netns,omitempty"`
	// CNIPath is CNI_PATH at ADD: the directories in which the runtime searches for plugins.
	// Records of earlier versions lack it.
	CNIPath string `json:"cniPath,omitempty"`
	// IPAM is the type of the plugin that leased the addresses.
	IPAM string `json:"ipam,omitempty"`
	// MTU is the MTU of the link, in bytes.
	MTU int `json:"mtu,omitempty"`
	// MTUProbing says that ADD enabled TCP's MTU probing in the container.
	MTUProbing bool `json:"mtuProbing,omitempty"`
	// HostMAC, Prefixes and Routes describe a link of main mode: see masq.Link. Records
	// of earlier versions lack them.
	HostMAC  string         `json:"hostMAC,omitempty"`
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	Routes   []masq.Route   `json:"routes,omitempty"`
	// Replaced are the attachments that had an address of this attachment at its ADD. At
	// its DEL the last of them that still exists gets the address back.
	Replaced []masq.Key `json:"replaced,omitempty"`
	// Evidence identifies the container, to find out whether it still exists. It is nil in
	// records of earlier versions.
	Evidence *masq.Evidence `json:"evidence,omitempty"`
	// Created is when the intent was written.
	Created time.Time `json:"created"`
}

// Link returns the part of the record that describes the link.
func (r Record) Link() masq.Link {
	return masq.Link{NetNS: r.NetNS, MTU: r.MTU, HostMAC: r.HostMAC, Prefixes: r.Prefixes, Routes: r.Routes, MTUProbing: r.MTUProbing}
}

// ErrNewer says that a newer version of the program wrote the record.
var ErrNewer = errors.New("the record was written by a newer version")

func parse(b []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(b, &r)
	if err != nil {
		// The fields of a newer version may have other types.
		var head struct {
			Version int `json:"version"`
		}
		if json.Unmarshal(b, &head) != nil || head.Version <= Version {
			return Record{}, fmt.Errorf("it is not a record: %w", err)
		}
		r.Version = head.Version
	}
	if r.Version > Version {
		return Record{}, fmt.Errorf("%w: it has version %d, and this program knows version %d", ErrNewer, r.Version, Version)
	}
	if r.Network == "" || r.ContainerID == "" || r.Interface == "" {
		return Record{}, errors.New("it is not a record: network, containerID and interface are required")
	}
	for _, a := range r.Addresses {
		if !a.IsValid() || a.Zone() != "" {
			return Record{}, fmt.Errorf("address %q is not valid", a)
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
