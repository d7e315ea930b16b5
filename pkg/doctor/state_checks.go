package doctor

// stateChecks turn the problems of the node's summary into findings.
var stateChecks = []Check{}
