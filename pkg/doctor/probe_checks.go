package doctor

var probeChecks = []Check{}
