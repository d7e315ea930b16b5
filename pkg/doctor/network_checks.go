package doctor

var networkChecks = []Check{
	forwardingOff,
	uplinkMTU, // removes IPv6 from an uplink
	acceptRA,  // deletes the default route
	noDefaultRoute,
	nextHopUnresolved,
	rpFilter,
	egressUnanswered,
	routeMTU,
	mssClamp,
	overlappingSubnets,
	overlappingRoute,
	networkManager,
	networkd,
	clockStep,
}
