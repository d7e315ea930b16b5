package doctor

var socketChecks = []Check{
	containerDefaultRoute,
	containerMTU,
	pathMTUBlackHole,
	synsUnanswered,
	connectionsStuck,
	dnsUnanswered,
	fragments,
	offloadFault,
}
