package doctor

var probeChecks = []Check{
	probeRefused,
	probeUnanswered,
	pathMTUIn,
	pathMTUOut,
}
