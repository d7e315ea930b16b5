package doctor

var socketChecks = []Check{}
