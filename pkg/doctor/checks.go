package doctor

import "slices"

// All returns all checks, the causes before their consequences.
func All() []Check {
	return slices.Concat(
		stateChecks,   // what inspect finds: rules, records, masqd
		fileChecks,    // plugins, network configurations, other managers of interfaces
		networkChecks, // forwarding, routes, neighbors, MTU
		kernelChecks,  // conntrack, ports, helpers, other tables, versions
		socketChecks,  // connections and queries of containers
		probeChecks,   // what a probe found
	)
}

// CheapChecks returns the checks that masqd and inspect run.
func CheapChecks() []Check {
	return slices.DeleteFunc(All(), func(c Check) bool { return c.Cost != Cheap })
}
