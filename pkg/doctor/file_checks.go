package doctor

var fileChecks = []Check{}
