package doctor

// Path is the way of a container's packets to a destination, in order.
type Path struct {
	Stations []Station `json:"stations"`
}

// StationKind is the kind of a Station.
type StationKind string

// Kinds of stations, in the order in which packets pass them.
const (
	ContainerInterface StationKind = "container-interface"
	HostLink           StationKind = "host-link"
	Rule               StationKind = "rule"        // a rule of table inet masq
	OtherChain         StationKind = "other-chain" // a base chain of another table
	UplinkInterface    StationKind = "uplink"
	NextHop            StationKind = "next-hop"
	Hop                StationKind = "hop" // a router beyond the next hop
	Destination        StationKind = "destination"
)

// Station is a point that packets pass.
type Station struct {
	Kind StationKind `json:"kind"`
	// Name is an interface, the ID of a rule, "inet filter forward", or an address.
	Name string `json:"name"`
	// Detail says more: "accept", "source 10.88.0.2 becomes 192.0.2.1".
	Detail string `json:"detail,omitempty"`
	// MTU and MSS are in bytes, and 0 if unknown.
	MTU int `json:"mtu,omitempty"`
	MSS int `json:"mss,omitempty"`
	// Packets is the value of a rule's counter.
	Packets *uint64 `json:"packets,omitempty"`
	// RTT is the round-trip time in seconds, 0 if unknown.
	RTT float64 `json:"rtt,omitempty"`
	// Narrowest marks the station with the smallest MTU of the path.
	Narrowest bool `json:"narrowest,omitempty"`
	// Lost says why a packet did not pass this station.
	Lost string `json:"lost,omitempty"`
}
