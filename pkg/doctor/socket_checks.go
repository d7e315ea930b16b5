package doctor

var socketChecks = []Check{
	containerDefaultRoute,
	pathMTUBlackHole,
	synsUnanswered,
	connectionsStuck,
	dnsUnanswered,
	fragments,
	offloadFault,
}
