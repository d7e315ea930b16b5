package doctor

var kernelChecks = []Check{
	masqueradedTwice,
	icmpDropped,
	helperMissing,
	portsOverlap,
	conntrackHash,
	conntrackTimeouts,
	conntrackLiberal,
	conntrackAccounting,
	helperPort,
	helperUnassigned,
}
