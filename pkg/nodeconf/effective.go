package nodeconf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// effective is the content of a file that gives every key.
type effective struct {
	NonMasqueradeCIDRs []netip.Prefix      `json:"nonMasqueradeCIDRs"`
	CIDRLimit          int                 `json:"cidrLimit,omitempty"`
	MasqueradeCIDRs    []netip.Prefix      `json:"masqueradeCIDRs"`
	MasqLinkLocal      bool                `json:"masqLinkLocal"`
	MasqLinkLocalIPv6  bool                `json:"masqLinkLocalIPv6"`
	SourceCIDRs        []netip.Prefix      `json:"sourceCIDRs"`
	SNATAddresses      []netip.Addr        `json:"snatAddresses"`
	SNATRouted         []netip.Addr        `json:"snatAddressesRouted,omitempty"`
	ToPorts            string              `json:"toPorts"`
	RandomFully        bool                `json:"randomFully"`
	MSSClamp           masq.Clamp          `json:"mssClamp"`
	MSSClamps          masq.MSSClamps      `json:"mssClamps,omitempty"`
	Helpers            map[string][]uint16 `json:"helpers"`
	DropInvalid        bool                `json:"dropInvalid"`
	AllowAnnotations   []string            `json:"allowAnnotations,omitzero"`
	AcceptOtherLinks   bool                `json:"acceptOtherLinks"`
	ResyncInterval     string              `json:"resyncInterval,omitempty"`
	Warnings           conftree.Faults     `json:"warnings,omitempty"`
}

// MarshalJSON returns the configuration as a file that Parse accepts. Warnings are a further
// key, which Parse does not accept.
func (n Node) MarshalJSON() ([]byte, error) {
	p := n.Policy
	e := effective{
		// An empty list must not become null.
		NonMasqueradeCIDRs: append([]netip.Prefix{}, p.NonMasquerade...),
		MasqueradeCIDRs:    append([]netip.Prefix{}, p.Masquerade...),
		MasqLinkLocal:      p.LinkLocal4,
		MasqLinkLocalIPv6:  p.LinkLocal6,
		SourceCIDRs:        append([]netip.Prefix{}, n.SourceCIDRs...),
		SNATAddresses:      append([]netip.Addr{}, p.SNATAddresses...),
		SNATRouted:         p.SNATRouted,
		ToPorts:            portsText(p.ToPorts),
		RandomFully:        p.RandomFully,
		MSSClamp:           p.MSSClamp,
		MSSClamps:          p.MSSClamps,
		Helpers:            map[string][]uint16{},
		DropInvalid:        p.DropInvalid,
		AllowAnnotations:   p.AllowAnnotations,
		AcceptOtherLinks:   p.AcceptOtherLinks,
		Warnings:           n.Warnings,
	}
	if len(e.NonMasqueradeCIDRs) > defaultLimit {
		e.CIDRLimit = len(e.NonMasqueradeCIDRs)
	}
	for _, h := range p.Helpers {
		e.Helpers[h.Name] = h.Ports
	}
	if n.ResyncInterval != 0 {
		e.ResyncInterval = n.ResyncInterval.String()
	}
	return json.Marshal(e)
}

func portsText(ranges []masq.PortRange) string {
	var out []string
	for _, r := range ranges {
		out = append(out, r.String())
	}
	return strings.Join(out, ",")
}

// String returns the configuration for people: its keys, and the direct destinations that
// result from them.
func (n Node) String() string {
	p := n.Policy
	var b strings.Builder
	row := func(name string, values ...string) {
		for _, v := range values {
			fmt.Fprintf(&b, "%-20s%s\n", name, v)
			name = ""
		}
	}
	direct := texts(p.NonMasquerade, "none")
	if n.Assumed {
		direct = append(direct, "(the default: no file gives this key)")
	}
	row("nonMasqueradeCIDRs", direct...)
	row("masqueradeCIDRs", texts(p.Masquerade, "none")...)
	row("masqLinkLocal", fmt.Sprint(p.LinkLocal4))
	row("masqLinkLocalIPv6", fmt.Sprint(p.LinkLocal6))
	row("sourceCIDRs", texts(n.SourceCIDRs, "none: attachments only")...)
	row("snatAddresses", texts(p.SNATAddresses, "none: the address of the uplink")...)
	if len(p.SNATRouted) > 0 {
		row("snatAddressesRouted", texts(p.SNATRouted, "")...)
	}
	row("toPorts", texts(p.ToPorts, "none: the kernel chooses")...)
	row("randomFully", fmt.Sprint(p.RandomFully))
	row("mssClamp", p.MSSClamp.String())
	if len(p.MSSClamps) > 0 {
		row("mssClamps", clampTexts(p.MSSClamps)...)
	}
	row("helpers", texts(helperTexts(p.Helpers), "none")...)
	row("dropInvalid", fmt.Sprint(p.DropInvalid))
	if p.AllowAnnotations != nil {
		row("allowAnnotations", texts(p.AllowAnnotations, "none")...)
	}
	row("acceptOtherLinks", fmt.Sprint(p.AcceptOtherLinks))
	if n.ResyncInterval != 0 {
		row("resyncInterval", n.ResyncInterval.String())
	}
	b.WriteByte('\n')
	for _, f := range masq.Families {
		row("direct, IPv"+f.String(), texts(rangeTexts(p.DirectRanges(f)), "none")...)
	}
	return b.String()
}

// texts returns the values of a list as texts. For an empty list it returns none.
func texts[T any](list []T, none string) []string {
	if len(list) == 0 {
		return []string{none}
	}
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func helperTexts(all []masq.Helper) (out []string) {
	for _, h := range all {
		out = append(out, fmt.Sprintf("%s on %s", h.Name, strings.Trim(fmt.Sprint(h.Ports), "[]")))
	}
	return out
}

func clampTexts(c masq.MSSClamps) (out []string) {
	for _, p := range c.Prefixes() {
		out = append(out, fmt.Sprintf("%s: %d", p, c[p]))
	}
	return out
}

func rangeTexts(all []masq.AddrRange) (out []string) {
	for _, r := range all {
		if p, ok := r.Prefix(); ok {
			out = append(out, p.String())
		} else {
			out = append(out, r.First.String()+"-"+r.Last.String())
		}
	}
	return out
}
