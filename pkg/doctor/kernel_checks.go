package doctor

var kernelChecks = []Check{}
