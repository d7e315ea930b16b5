package doctor

var probeChecks = []Check{
	packetDropped,
	translatedElsewhereCheck,
	probeRefused,
	probeUnanswered,
	pathMTUIn,
	pathMTUOut,
}
