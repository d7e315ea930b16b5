package nodeconf

import (
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// key is a key of a file.
type key struct {
	name string
	// ofAgent is true for a key of ip-masq-agent. As ip-masq-agent does with encoding/json,
	// such a key is accepted in any case and, for some types, with null. The other keys are
	// strict.
	ofAgent bool
	about   string // the description in the schema
	schema  schema
	read    func(r *reader, k key, v conftree.Value)
}

// keys are in the order of the documentation.
var keys = []key{
	{
		name: "nonMasqueradeCIDRs", ofAgent: true,
		about:  "Destinations that are direct: reached with the source address unchanged. The longest prefix of this list and masqueradeCIDRs decides. An empty list leaves link-local, multicast and broadcast destinations direct.",
		schema: schema{Type: "array", Items: prefixSchema(), MaxItems: masq.MaxPrefixes, Default: private},
		read:   (*reader).nonMasquerade,
	},
	{
		name: "cidrLimit", ofAgent: true,
		about:  "Maximum number of entries of nonMasqueradeCIDRs in this file.",
		schema: schema{Type: "integer", Minimum: new(0), Default: defaultLimit},
		read:   (*reader).cidrLimit,
	},
	{
		name:   "masqueradeCIDRs",
		about:  "Destinations that are masqueraded although a shorter prefix of nonMasqueradeCIDRs contains them.",
		schema: schema{Type: "array", Items: prefixSchema(), MaxItems: masq.MaxPrefixes, UniqueItems: true, Default: []string{}},
		read:   func(r *reader, k key, v conftree.Value) { r.prefixes(k, v, &r.s.masquerade) },
	},
	{
		name: "masqLinkLocal", ofAgent: true,
		about:  "Masquerade destinations in 169.254.0.0/16 too.",
		schema: schema{Type: "boolean", Default: false},
		read:   func(r *reader, k key, v conftree.Value) { r.boolean(k, v, &r.s.linkLocal4) },
	},
	{
		name: "masqLinkLocalIPv6", ofAgent: true,
		about:  "Masquerade destinations in fe80::/10 too.",
		schema: schema{Type: "boolean", Default: false},
		read:   func(r *reader, k key, v conftree.Value) { r.boolean(k, v, &r.s.linkLocal6) },
	},
	{
		name:   "sourceCIDRs",
		about:  "Addresses of pods of other plugins to which the policy of the node applies.",
		schema: schema{Type: "array", Items: prefixSchema(), MaxItems: masq.MaxPrefixes, UniqueItems: true, Default: []string{}},
		read:   func(r *reader, k key, v conftree.Value) { r.prefixes(k, v, &r.s.sources) },
	},
	{
		name:   "snatAddresses",
		about:  "Egress addresses, one of which is chosen for each connection. Addresses that the node does not have at the time are ignored. If the list has no address of a family, the kernel takes the address of the uplink.",
		schema: schema{Type: "array", Items: addressSchema(), MaxItems: masq.MaxSNATAddresses, UniqueItems: true, Default: []string{}},
		read:   func(r *reader, k key, v conftree.Value) { r.addresses(k, v, &r.s.snat) },
	},
	{
		name:   "snatAddressesRouted",
		about:  "Addresses of snatAddresses that are routed to the node without being its own. The other addresses are used while the node has them.",
		schema: schema{Type: "array", Items: addressSchema(), MaxItems: masq.MaxSNATAddresses, UniqueItems: true, Default: []string{}},
		read:   func(r *reader, k key, v conftree.Value) { r.addresses(k, v, &r.s.routed) },
	},
	{
		name:   "toPorts",
		about:  "Source ports to choose from: FIRST-LAST within 1024-65535, several separated by commas. If empty, the kernel chooses. Connections from a port below 1024 are exempt.",
		schema: schema{Type: "string", Pattern: portsPattern, Default: ""},
		read:   (*reader).toPorts,
	},
	{
		name:   "randomFully",
		about:  "Choose source ports at random.",
		schema: schema{Type: "boolean", Default: true},
		read:   func(r *reader, k key, v conftree.Value) { r.boolean(k, v, &r.s.randomFully) },
	},
	{
		name:   "mssClamp",
		about:  "Limit of the maximum segment size that the ends of a TCP connection announce: the size that the path can carry (pmtu), no limit (off), or a number of bytes.",
		schema: schema{AnyOf: []schema{{Enum: []string{"pmtu", "off"}}, {Type: "integer", Minimum: new(masq.ClampMin), Maximum: new(masq.ClampMax)}}, Default: "pmtu"},
		read:   (*reader).mssClamp,
	},
	{
		name:   "mssClamps",
		about:  "Limits of the maximum segment size by destination prefix, in bytes. The longest prefix decides. mssClamp applies too: the smaller size is used. For paths that are narrower than the node's route.",
		schema: schema{Type: "object", PropertyNames: prefixSchema(), AdditionalProperties: schema{Type: "integer", Minimum: new(masq.ClampMin), Maximum: new(masq.ClampMax)}, MaxProperties: masq.MaxPrefixes, Default: map[string]any{}},
		read:   (*reader).mssClamps,
	},
	{
		name:   "helpers",
		about:  "Protocols whose payload names addresses or ports, each with the ports of its control connections. An empty list stands for the assigned port of the protocol.",
		schema: helpersSchema(),
		read:   (*reader).helpers,
	},
	{
		name:   "dropInvalid",
		about:  "Drop packets that connection tracking calls invalid: they would leave with the private address.",
		schema: schema{Type: "boolean", Default: true},
		read:   func(r *reader, k key, v conftree.Value) { r.boolean(k, v, &r.s.dropInvalid) },
	},
	{
		name:   "allowAnnotations",
		about:  "Annotations that pods may use, with or without their prefix masq-cni.dev/. An empty list forbids all. Without the key all are allowed, except egress if snatAddresses has an entry or masqd keeps a NAT log.",
		schema: schema{Type: "array", Items: annotationSchema(), MaxItems: len(masq.Annotations), UniqueItems: true},
		read:   (*reader).annotations,
	},
	{
		name:   "acceptOtherLinks",
		about:  "Accept new flows with the address of a container that enter by another link than the link of the container, for example if pod traffic returns by a tunnel.",
		schema: schema{Type: "boolean", Default: false},
		read:   func(r *reader, k key, v conftree.Value) { r.boolean(k, v, &r.s.otherLinks) },
	},
	{
		name: "resyncInterval", ofAgent: true,
		about:  "Time between two comparisons of the whole table that no event triggers, such as 60s.",
		schema: schema{Type: "string", Pattern: durationPattern},
		read:   (*reader).resyncInterval,
	},
}

// keyOf finds the key with a name of a file.
func keyOf(name string) (key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool {
		return k.name == name || k.ofAgent && strings.EqualFold(k.name, name)
	})
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

func keyNames() []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.name)
	}
	return out
}
