package doctor

var kernelChecks = []Check{
	connectionsDropped,
	masqueradedTwice,
	icmpDropped,
	kernelFeature,
	masqdCapability,
	helperMissing,
	helperDaemon,
	helperInput,
	portsOverlap,
	conntrackHash,
	conntrackTimeouts,
	conntrackLiberal,
	conntrackAccounting,
	helperPort,
	helperUnassigned,
	nftTooOld,
}
