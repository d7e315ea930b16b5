package doctor

var networkChecks = []Check{}
